"""LiteLLM's proxy, the peer: in a virtual environment of its own, so that its hundred packages are none of ours."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

from dev import toolchain
from dev.progress import say

REQUIREMENTS = Path(__file__).parent / "litellm" / "requirements.txt"
KEY = "sk-benchmark-of-litellm-not-a-secret"
MODEL = "claude-sonnet-5-5"


def ensure() -> Path:
    """The program, installed into the cache where it is not there yet: one environment per lock file and Python."""
    digest = hashlib.sha256(f"{sys.version}\0{REQUIREMENTS.read_text()}".encode()).hexdigest()[:8]
    folder = toolchain.cache_folder() / "litellm" / digest
    program = folder / "bin" / "litellm"
    ready = folder / ".ready"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with toolchain.lock(folder.parent / ".lock", "the installation of LiteLLM"):
        if not ready.exists():
            say("==> LiteLLM's proxy is installed into an environment of its own (a few minutes, once)")
            venv.create(folder, clear=True, with_pip=True)
            install: list[str | Path] = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
            subprocess.run([*install, "--require-hashes", "-r", REQUIREMENTS], check=True)  # noqa: S603 - our own lock
            ready.touch()
    return program


def version() -> str:
    """The one that the lock file has."""
    lines = REQUIREMENTS.read_text().splitlines()
    return next(line for line in lines if line.startswith("litellm==")).split()[0].partition("==")[2]


def write_config(path: Path, upstream: str) -> Path:
    """Its configuration: one model, reached at `upstream`; no further tries, database or reports to its makers."""
    reach = {"model": f"anthropic/{MODEL}", "api_base": upstream, "api_key": "not-a-secret"}
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": reach}],
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "general_settings": {"master_key": KEY},
    }
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


def command(program: Path, config: Path, port: int) -> list[str]:
    """How it is started: one worker, as a container has one."""
    return [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]


def environment() -> dict[str, str]:
    """Its environment: ours, without what could reach a real provider, and with the list of prices that it carries."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "PYTHON"))}
    return inherited | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
