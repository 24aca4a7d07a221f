"""What is measured, each as a process of its own on one CPU, all in front of the same fake of the Messages API."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.runtime import litellm_proxy
from benchmarks.runtime.litellm_proxy import MODEL
from benchmarks.runtime.load import Call
from dev import process
from dev.process import Child

KEY = "key-of-benchmark-not-a-secret"
MESSAGE = "What is the weather like in Lisbon today, and what should I wear?"
OPEN_STREAMS = 1000
_READY_SECONDS = 120
"""LiteLLM takes ten seconds where nothing else runs."""


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Args:
        name: in tables and raw figures.
        child: its process.
        chat: one answer as a document.
        stream: one answer as server-sent events.
        admin: address of its admin port, where it has one.
        ready_seconds: from its start until it answered.
    """

    name: str
    child: Child
    chat: Call
    stream: Call
    admin: str = ""
    ready_seconds: float = 0.0


@contextmanager
def upstream(folder: Path) -> Iterator[str]:
    """The fake, and its address."""
    port = _free_port()
    command = [sys.executable, "-m", "dev.fake_messages_api", "--port", str(port)]
    with process.running(command, name="fake messages API", log=folder / "upstream.log") as child:
        _wait_for(child, port, "/v1/models")
        yield f"http://127.0.0.1:{port}"


def script(upstream: str, **fields: Any) -> None:
    """Let the fake answer every request from now on so; see dev.fake_messages_api.script.Script."""
    _request(upstream, "DELETE", "/_script")
    _request(upstream, "POST", "/_script", {**fields, "times": "always"})


def forget_requests(upstream: str) -> None:
    """Let the fake forget what it was asked, which it keeps for tests."""
    _request(upstream, "DELETE", "/_requests")


@contextmanager
def runtime(folder: Path, upstream: str, *, name: str = "runtime", store: bool, **config: Any) -> Iterator[Server]:
    """Our runtime with everything on; `config` replaces fields of its configuration."""
    folder.mkdir()
    (folder / "api-keys").mkdir()
    (folder / "api-keys" / "benchmark").write_text(KEY)
    (folder / "provider").write_text("not-a-secret")
    reach = {"model": MODEL, "base_url": upstream, "credentials_file": str(folder / "provider")}
    model = {"name": "main", "provider": "Anthropic", "anthropic": reach, "max_tokens": 1024}
    settings = {
        "service": "benchmark",
        "namespace": "default",
        "models": [model | {"first_token_timeout_seconds": 60, "retries": 0}],
        "agents": [{"name": "assistant", "system_prompt": "You are a helpful assistant.", "model": "main"}],
        "default_agent": "assistant",
        "request_timeout_seconds": 120,
        "max_concurrent_requests": 2 * OPEN_STREAMS,
        "max_queued_requests": 256,
        "lame_duck_seconds": 0,
        "drain_seconds": 1,
        "api_keys_directory": str(folder / "api-keys"),
        "state": {"path": str(folder / "state.db"), "retention_days": 30},
        "log_level": "info",
        **config,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    port, admin_port = _free_port(), _free_port()
    env = {
        **_environment(),
        "AGENTSERVICE_CONFIG": str(folder / "config.json"),
        "BIND_ADDRESS": "127.0.0.1",
        "PORT": str(port),
        "ADMIN_PORT": str(admin_port),
    }
    body, headers = {"message": MESSAGE, "store": store}, {"X-API-Key": KEY}
    calls = (
        Call(f"http://127.0.0.1:{port}/v1/chat", body, headers),
        Call(f"http://127.0.0.1:{port}/v1/chat/stream", body, headers),
    )
    command = [sys.executable, "-m", "agent_runtime"]
    with process.running(command, name=name, log=folder / "log", env=env) as child:
        seconds = _wait_for(child, admin_port, "/readyz")
        yield _on_one_cpu(Server(name, child, *calls, f"http://127.0.0.1:{admin_port}", seconds))


@contextmanager
def plain(folder: Path, upstream: str) -> Iterator[Server]:
    """FastAPI with the SDK, and nothing else."""
    port = _free_port()
    command = [sys.executable, "-m", "benchmarks.runtime.plain", str(port)]
    env = {**_environment(), "BENCHMARK_UPSTREAM": upstream}
    address, body = f"http://127.0.0.1:{port}", {"message": MESSAGE}
    with process.running(command, name="plain", log=folder / "plain.log", env=env) as child:
        seconds = _wait_for(child, port, "/openapi.json")
        calls = (Call(f"{address}/chat", body), Call(f"{address}/chat/stream", body))
        yield _on_one_cpu(Server("plain", child, *calls, ready_seconds=seconds))


@contextmanager
def litellm(folder: Path, upstream: str, program: Path) -> Iterator[Server]:
    """LiteLLM's proxy, on its OpenAI-compatible path: the one that its users take."""
    port = _free_port()
    config = litellm_proxy.write_config(folder / "litellm.json", upstream)
    command = litellm_proxy.command(program, config, port)
    env = litellm_proxy.environment()
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    headers = {"Authorization": f"Bearer {litellm_proxy.KEY}"}
    body = {"model": MODEL, "max_tokens": 1024, "messages": [{"role": "user", "content": MESSAGE}]}
    with process.running(command, name="litellm", log=folder / "litellm.log", env=env, cwd=folder) as child:
        seconds = _wait_for(child, port, "/health/liveliness")
        calls = (Call(url, body, headers), Call(url, body | {"stream": True}, headers))
        yield _on_one_cpu(Server("litellm", child, *calls, ready_seconds=seconds))


@contextmanager
def all_of(folder: Path, upstream: str, program: Path) -> Iterator[list[Server]]:
    """The peers, and the runtime without and with conversations that are kept."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(plain(folder, upstream)),
            stack.enter_context(litellm(folder, upstream, program)),
            stack.enter_context(runtime(folder / "runtime", upstream, store=False)),
            stack.enter_context(runtime(folder / "sqlite", upstream, name="runtime, SQLite", store=True)),
        ]


def _on_one_cpu(server: Server) -> Server:
    """Leave it the first CPU; load and fake have the others, where there are any."""
    for thread in Path(f"/proc/{server.child.pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {min(os.sched_getaffinity(0))})
    return server


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {name: value for name, value in inherited.items() if not name.startswith("ANTHROPIC_")}


def _wait_for(child: Child, port: int, path: str) -> float:
    """Wait until `path` is answered with 200; seconds since the call, which follows the start at once."""
    began = time.monotonic()

    def answered() -> bool:
        child.require_running()
        try:
            return _request(f"http://127.0.0.1:{port}", "GET", path) == http.client.OK
        except (OSError, http.client.HTTPException):
            return False

    process.wait_until(answered, deadline=_READY_SECONDS, describe=child.log_tail)
    return time.monotonic() - began


def _request(address: str, method: str, path: str, body: object = None) -> int:
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
