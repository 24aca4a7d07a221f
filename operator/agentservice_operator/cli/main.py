"""``agentctl``: what the operator does with an AgentService, at the command line and without a cluster."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

from agentservice_operator.api.v1alpha1.well_known import OPTIONAL_KINDS
from agentservice_operator.builders.defaults import AgentDefaults, InvalidDefaults
from agentservice_operator.cli.documents import InputError, to_yaml
from agentservice_operator.cli.render import render
from agentservice_operator.cli.run import run
from agentservice_operator.settings import DEFAULT_RUNTIME_IMAGE, read_defaults

VERSION = version("agentservice")


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; the process's own where absent.

    Returns:
        The exit code: 0 done, 1 the input cannot be used, 2 the command line cannot; of ``run`` the runtime's own.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "render":
            children = render(
                options.file,
                runtime_image=options.runtime_image,
                namespace=options.namespace,
                defaults=_defaults(options.defaults),
                served_kinds=OPTIONAL_KINDS - set(options.without),
            )
            sys.stdout.write(to_yaml(children))
            return 0
        return run(options.file, name=options.name, port=options.port, secret_files=dict(options.secret))
    except InputError as error:
        sys.stderr.write(f"agentctl: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agentctl", description="Works with AgentServices in files.")
    parser.add_argument("--version", action="version", version=f"agentctl {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    render_ = commands.add_parser("render", help="print the objects that the operator makes of an AgentService")
    _add_file(render_)
    render_.add_argument(
        "--runtime-image", default=DEFAULT_RUNTIME_IMAGE, help="where a spec names none (default: %(default)s)"
    )
    render_.add_argument(
        "-n", "--namespace", default="default", help="where an AgentService names none (default: %(default)s)"
    )
    render_.add_argument(
        "--defaults",
        type=Path,
        metavar="FILE",
        help="what the installation decides: the chart's agentDefaults, as YAML",
    )
    render_.add_argument(
        "--without",
        choices=sorted(OPTIONAL_KINDS),
        action="append",
        default=[],
        metavar="KIND",
        help="as on a cluster that lacks this kind: one of %(choices)s",
    )

    run_ = commands.add_parser("run", help="serve an AgentService on this machine, without a cluster")
    _add_file(run_)
    run_.add_argument("--name", help="which AgentService, if the file holds several")
    run_.add_argument("--port", type=int, default=8080, help="port on this machine (default: %(default)s)")
    run_.add_argument(
        "--secret",
        type=_secret,
        action="append",
        default=[],
        metavar="NAME/KEY=FILE",
        help="file with the value of a Secret's key; credentials not given are taken from ANTHROPIC_API_KEY",
    )
    return parser


def _defaults(path: Path | None) -> AgentDefaults:
    try:
        return AgentDefaults() if path is None else read_defaults(path)
    except InvalidDefaults as error:
        raise InputError(str(error)) from error


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--file", type=Path, required=True, help="YAML documents; - is standard input")


def _secret(text: str) -> tuple[tuple[str, str], Path]:
    reference, separator, file = text.partition("=")
    name, slash, key = reference.partition("/")
    if not (separator and slash and name and key and file):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME/KEY=FILE")
    return (name, key), Path(file)
