"""The two container images, built by the real Dockerfiles; nothing is pushed anywhere."""

from __future__ import annotations

import configparser
import io
import os
import ssl
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from dev.debian import import_root_file_system
from dev.engine import Engine
from dev.progress import step
from dev.toolchain import cache_folder

REPOSITORY = Path(__file__).parent.parent
_STOCK_BASE = "python:3.13-slim"
_OWN_BASE = "localhost/agentservice/python:3.13-trixie-1"  # count up when its packages change


@dataclass(frozen=True)
class Images:
    """The names, with tags, of the images of one build."""

    operator: str
    runtime: str


def build_images(engine: Engine) -> Images:
    """Build the operator's and the runtime's image; what has not changed comes from the engine's cache.

    Their tags name their content, so that a cluster rolls its pods if and only if an image has changed.

    Args:
        engine: where they are built, and stay.

    Raises:
        NoEngineError: where the base image can neither be pulled nor made.
        RuntimeError: with the end of a failed build's log.
    """
    base = base_image(engine)
    names = {}
    for kind in ("operator", "runtime"):
        with step(f"building the {kind} image"):
            newest = f"localhost/agentservice/{kind}:newest"
            _build(engine, REPOSITORY / f"Dockerfile.{kind}", newest, base=base)
            content = (engine.image_id(newest) or "").removeprefix("sha256:")
            names[kind] = f"localhost/agentservice/{kind}:{content[:12]}"
            engine.docker("tag", newest, names[kind])
    return Images(**names)


def base_image(engine: Engine) -> str:
    """Have a Debian 13 image with Python 3.13: pulled where a registry answers, else made from Debian packages."""
    if engine.can_pull(_STOCK_BASE):
        return _STOCK_BASE
    packages = ("python3", "python3-venv", "ca-certificates")
    import_root_file_system(engine, _OWN_BASE, suite="trixie", packages=packages, cache=cache_folder() / "images")
    return _OWN_BASE


def _build(engine: Engine, dockerfile: Path, image: str, *, base: str) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    with tempfile.TemporaryDirectory() as folder:
        secrets = {"pip.conf": Path(folder) / "pip.conf", "ca.crt": Path(folder) / "ca.crt"}
        secrets["pip.conf"].write_text(_pip_configuration())
        secrets["ca.crt"].write_bytes(_certificates())
        engine.docker(
            "build",
            "--progress=plain",
            # An index or a resolver on this machine's loopback is out of reach of the build's own network.
            "--network=host",
            f"--file={dockerfile}",
            f"--tag={image}",
            f"--build-arg=BASE_IMAGE={base}",
            f"--build-arg=VERSION={project['version']}",
            *(f"--secret=id={name},src={file}" for name, file in secrets.items()),
            str(REPOSITORY),
        )


def _pip_configuration() -> str:
    """This machine's pip settings as one file, so that a build reaches the same index; certificates go separately."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    settings = configparser.RawConfigParser()
    settings.add_section("global")
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in {"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries"}:
            settings.set("global", name, value.strip("'"))
    file = io.StringIO()
    settings.write(file)
    return file.getvalue()


def _certificates() -> bytes:
    """The certificate authorities that this machine trusts, where it was told to trust others than the usual ones."""
    named = os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    bundle = Path(named or ssl.get_default_verify_paths().cafile or "")
    return bundle.read_bytes() if bundle.is_file() else b""
