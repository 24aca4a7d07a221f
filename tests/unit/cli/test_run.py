"""``agentctl run`` with the real runtime process: it answers, keeps secrets to itself, and leaves nothing behind."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dev.fake_messages_api import running
from tests.agentctl import STARTS_WITHIN, Agentctl, answer
from tests.authority import make_authority
from tests.unit.cli.test_render import HELLO

PROVIDER_KEY = "not-a-real-key"
CLAUDE = """\
  - name: main
    provider: Anthropic
    anthropic:
      model: claude-sonnet-5-5
      baseURL: BASE_URL
      credentials: {secretKeyRef: {name: anthropic, key: api-key}}
"""


@pytest.fixture
def started() -> Iterator[list[Agentctl]]:
    """Holds what a test starts, and ends it."""
    processes: list[Agentctl] = []
    yield processes
    for agentctl in processes:
        if agentctl.process.poll() is None:
            agentctl.end(signal.SIGTERM)


def refusal(tmp_path: Path, text: str, *arguments: str) -> str:
    """What it says where it does not start."""
    agentctl = Agentctl(tmp_path, text, *arguments)
    assert agentctl.process.wait(timeout=STARTS_WITHIN) == 1
    return agentctl.output


def test_the_command_that_it_prints_gets_an_answer(tmp_path: Path, started: list[Agentctl]) -> None:
    agentctl = Agentctl(tmp_path, HELLO)
    started.append(agentctl)
    command = agentctl.curl_command()

    said = answer(command)

    assert '"agent":"assistant"' in said
    assert "Hello" in said
    key = next(part for part in command if part.startswith("X-API-Key: ")).removeprefix("X-API-Key: ")
    wrong = [part.replace(key, "wrong") for part in command]
    assert '"status":401' in answer(wrong)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_and_nothing_is_left(
    tmp_path: Path, started: list[Agentctl], number: signal.Signals
) -> None:
    agentctl = Agentctl(tmp_path, HELLO)
    started.append(agentctl)
    agentctl.curl_command()
    children = Path(f"/proc/{agentctl.process.pid}/task/{agentctl.process.pid}/children").read_text().split()
    assert children

    code = agentctl.end(number)

    assert code == 0, agentctl.output
    assert not [child for child in children if Path(f"/proc/{child}").exists()]
    assert list(agentctl.temporary.iterdir()) == []


def test_a_provider_gets_the_key_from_the_environment(tmp_path: Path, started: list[Agentctl]) -> None:
    with running() as provider:
        provider.script({"deltas": ["The key was right."], "valid_key": PROVIDER_KEY})
        text = HELLO.replace("  - {name: main, provider: Echo}\n", CLAUDE.replace("BASE_URL", provider.base_url))
        agentctl = Agentctl(tmp_path, text, ANTHROPIC_API_KEY=PROVIDER_KEY)
        started.append(agentctl)

        assert "The key was right." in answer(agentctl.curl_command())

        # Other users of the machine see arguments, and children would inherit the variable.
        (child,) = Path(f"/proc/{agentctl.process.pid}/task/{agentctl.process.pid}/children").read_text().split()
        assert PROVIDER_KEY.encode() not in Path(f"/proc/{child}/cmdline").read_bytes()
        assert PROVIDER_KEY.encode() not in Path(f"/proc/{child}/environ").read_bytes()
        assert PROVIDER_KEY not in agentctl.output
        files = [path for path in agentctl.temporary.rglob("*") if path.is_file()]
        assert files
        assert all(path.stat().st_mode & 0o077 == 0 for path in [*files, *agentctl.temporary.iterdir()])


def test_a_provider_gets_the_key_from_a_file(tmp_path: Path, started: list[Agentctl]) -> None:
    (tmp_path / "key").write_text(PROVIDER_KEY + "\n")
    with running() as provider:
        provider.script({"deltas": ["The key was right."], "valid_key": PROVIDER_KEY})
        text = HELLO.replace("  - {name: main, provider: Echo}\n", CLAUDE.replace("BASE_URL", provider.base_url))
        agentctl = Agentctl(tmp_path, text, f"--secret=anthropic/api-key={tmp_path / 'key'}", ANTHROPIC_API_KEY="other")
        started.append(agentctl)

        assert "The key was right." in answer(agentctl.curl_command())


def test_a_missing_key_is_named_with_the_ways_to_give_it(tmp_path: Path) -> None:
    text = HELLO.replace("  - {name: main, provider: Echo}\n", CLAUDE.replace("BASE_URL", "http://127.0.0.1:9"))

    assert refusal(tmp_path, text) == (
        f"agentctl: {tmp_path}/agents.yaml: document 1 (AgentService hello): key api-key of Secret anthropic is needed "
        "for the credentials of model main: set ANTHROPIC_API_KEY, or pass --secret anthropic/api-key=FILE\n"
    )


def test_a_missing_config_map_of_a_variable_is_named(tmp_path: Path) -> None:
    variable = "  runtime: {env: [{name: TZ, valueFrom: {configMapKeyRef: {name: site, key: tz}}}]}\n"

    said = refusal(tmp_path, HELLO + variable)

    assert "key tz of ConfigMap site is needed for the environment variable TZ: add the ConfigMap as a document" in said


def test_a_trust_bundle_of_the_file_is_believed(tmp_path: Path, started: list[Agentctl]) -> None:
    authority = make_authority(tmp_path)
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "corp"}}
    bundle = yaml.safe_dump({**config_map, "data": {"ca.crt": authority.certificate.read_text()}})
    runtime = "  runtime: {trustBundle: {configMapKeyRef: {name: corp, key: ca.crt}}}\n"
    with running(
        certificate=authority.server_certificate, key=authority.server_key, authority=authority.certificate
    ) as provider:
        text = HELLO.replace("  - {name: main, provider: Echo}\n", CLAUDE.replace("BASE_URL", provider.base_url))
        agentctl = Agentctl(tmp_path, f"{text}{runtime}---\n{bundle}", ANTHROPIC_API_KEY=PROVIDER_KEY)
        started.append(agentctl)

        answer(agentctl.curl_command())

        assert len(provider.requests()) == 1


def test_a_missing_trust_bundle_is_named(tmp_path: Path) -> None:
    said = refusal(tmp_path, HELLO + "  runtime: {trustBundle: {configMapKeyRef: {name: corp, key: ca.crt}}}\n")

    assert "key ca.crt of ConfigMap corp is needed for runtime.trustBundle: add the ConfigMap as a document" in said


def test_which_of_several_must_be_said(tmp_path: Path) -> None:
    said = refusal(tmp_path, HELLO + "---\n" + HELLO.replace("hello", "bye"))

    assert "holds the AgentServices hello, bye: choose one of them with --name" in said


def test_a_taken_port_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        said = refusal(tmp_path, HELLO, f"--port={port}")

    assert said == f"agentctl: port {port} cannot be used (Address already in use): choose another one with --port\n"


def test_a_number_that_no_port_has_is_said(tmp_path: Path) -> None:
    said = refusal(tmp_path, HELLO, "--port=70000")

    assert (
        said == "agentctl: port 70000 cannot be used (there is none of that number): choose another one with --port\n"
    )


def test_a_malformed_secret_is_a_wrong_command_line(tmp_path: Path) -> None:
    agentctl = Agentctl(tmp_path, HELLO, "--secret=anthropic")

    assert agentctl.process.wait(timeout=STARTS_WITHIN) == 2
    assert "'anthropic' is not of the form NAME/KEY=FILE" in agentctl.output
