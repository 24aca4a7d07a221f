"""The runtime as a process of its own, with a configuration and API keys in files, and callers that talk to it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import orjson

from dev.process import Child, start, stopped, wait_until
from dev.warm import WarmStarter

KEY = "test-key-of-demo-not-a-secret"
OTHER_KEY = "test-key-of-other-not-a-secret"
PROVIDER_KEY = "test-key-of-provider-not-a-secret"

READY_SECONDS = 60
"""The SDK takes 2 s to import, on a busy machine much longer."""


def hasty(*arguments: str) -> tuple[str, str]:
    """A command of the runtime that takes a process of which it has not heard for three seconds for gone.

    Where it hears of changes it looks at nothing by itself: what was not told would be found out after the test.
    """
    return "-c", (
        "from agent_runtime.state import presence\n"
        "presence.EXPIRY_SECONDS, presence.RENEWAL_SECONDS = 3.0, 1.0\n"
        "from agent_runtime.tasks import bell\n"
        "bell.IDLE_SECONDS = 600.0\n"
        "from agent_runtime.__main__ import main\n"
        f"raise SystemExit(main({list(arguments)}))"
    )


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    id: int | None
    """None: it is about the stream, and not of what it tells."""
    type: str
    data: dict[str, Any]


@dataclass(frozen=True)
class RuntimeProcess:
    """A runtime that is ready."""

    child: Child
    directory: Path
    port: int
    """0: it serves no callers."""
    admin_port: int
    client: httpx2.Client

    @property
    def admin(self) -> str:
        """Address of the admin port."""
        return f"http://127.0.0.1:{self.admin_port}"

    def chat(self, message: str = "Hello", *, key: str = KEY, **fields: Any) -> httpx2.Response:
        """POST /v1/chat."""
        return self.client.post("/v1/chat", json={"message": message, **fields}, headers={"X-API-Key": key})

    def stream(self, message: str = "Hello", *, key: str = KEY, **fields: Any) -> list[Event]:
        """POST /v1/chat/stream, read to its end."""
        response = self.client.post("/v1/chat/stream", json={"message": message, **fields}, headers={"X-API-Key": key})
        assert response.status_code == 200, response.text
        return parse_events(response.text)

    @property
    def phase(self) -> str:
        """Where the process says it is between start and end."""
        return str(httpx2.get(self.admin + "/statusz").json()["phase"])

    def probe(self, path: str) -> int:
        """Status of a path of the admin port."""
        return httpx2.get(self.admin + path, timeout=5).status_code

    def metric(self, name: str, **labels: str) -> float:
        """Value of one series; 0 where there is none."""
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        for line in httpx2.get(self.admin + "/metrics", timeout=5).text.splitlines():
            series, _, value = line.rpartition(" ")
            found, _, raw = series.partition("{")
            if found == name and wanted <= set(raw.rstrip("}").split(",")):
                return float(value)
        return 0.0

    def log(self) -> list[dict[str, Any]]:
        """The lines that it has logged."""
        return [orjson.loads(line) for line in self.child.log.read_text().splitlines()]

    def request_line(self, request_id: str) -> dict[str, Any]:
        """The log line of one request; it is written after the answer."""

        def find() -> dict[str, Any] | None:
            lines = [line for line in self.log() if line.get("request_id") == request_id]
            return next((line for line in lines if line["event"] == "request"), None)

        return wait_until(find, deadline=5, describe=self.child.log_tail)


def parse_events(text: str) -> list[Event]:
    """The events of a stream; comments are left out."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":")
        if fields:
            data = orjson.loads(fields["data"])
            assert data["type"] == fields["event"]
            event_id = int(fields["id"]) if "id" in fields else None
            events.append(Event(event_id, fields["event"], data))
    return events


def echo_model(name: str = "main", **fields: Any) -> dict[str, Any]:
    """Configuration of a model that needs nothing."""
    return {"name": name, "provider": "Echo", **_MODEL_DEFAULTS, **fields}


def anthropic_model(name: str, base_url: str, credentials: Path, **fields: Any) -> dict[str, Any]:
    """Configuration of a model on a Messages API."""
    reach = {"model": "claude-sonnet-5-5", "base_url": base_url, "credentials_file": str(credentials)}
    return {"name": name, "provider": "Anthropic", "anthropic": reach, **_MODEL_DEFAULTS, **fields}


_MODEL_DEFAULTS = {"max_tokens": 1024, "first_token_timeout_seconds": 30, "retries": 2}


def write_config(directory: Path, **fields: Any) -> Path:
    """Write a configuration, and the API keys of the clients demo and other, into `directory`."""
    keys = directory / "api-keys"
    keys.mkdir(exist_ok=True)
    (keys / "demo").write_text(KEY)
    (keys / "other").write_text(OTHER_KEY)
    models = fields.setdefault("models", [echo_model()])
    agents = [{"name": model["name"], "system_prompt": "Be brief.", "model": model["name"]} for model in models]
    config = {
        "schema_version": 1,
        "service": "hello",
        "namespace": "default",
        "agents": agents,
        "default_agent": fields.get("agents", agents)[0]["name"],
        "request_timeout_seconds": 30,
        "max_concurrent_requests": 20,
        "max_queued_requests": 20,
        "lame_duck_seconds": 0,
        "drain_seconds": 5,
        "api_keys_directory": str(keys),
        "state": {"path": str(directory / "state.db"), "retention_days": 30},
        "log_level": "debug",
        **fields,
    }
    path = directory / "config.json"
    path.write_bytes(orjson.dumps(config))
    return path


def environment(config: Path, **variables: str) -> dict[str, str]:
    """The environment of a runtime: that of this process without what could reach a real provider, or a proxy."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("ANTHROPIC_") and not name.lower().endswith("_proxy")
    }
    ours = {"AGENTSERVICE_CONFIG": str(config), "BIND_ADDRESS": "127.0.0.1", "PORT": "0", "ADMIN_PORT": "0"}
    return inherited | ours | variables


@cache
def warm_starter() -> WarmStarter:
    """Starts runtimes, and servers of tools, that have imported what they may need."""
    by_need = ("agent.providers.anthropic", "agent.tools.mcp.server", "state.postgresql", "tasks.redis_bell")
    ours = (f"agent_runtime.{name}" for name in ("main", *by_need))
    return WarmStarter(*ours, "genai_prices.data_snapshot", "mcp.server.mcpserver")


@contextmanager
def runtime_process(
    directory: Path,
    *,
    command: Sequence[str] = ("-m", "agent_runtime"),
    env: dict[str, str] | None = None,
    warm: bool = True,
    **config: Any,
) -> Iterator[RuntimeProcess]:
    """A runtime with this configuration, ready when the block begins and gone when it ends.

    Args:
        directory: for its files.
        command: arguments of Python.
        env: further variables.
        warm: it begins with its imports done; not for variables that are read while modules are imported.
        config: of its configuration.
    """
    path = write_config(directory, **config)
    log = directory / "runtime.log"
    how: Any = {"name": "runtime", "log": log, "env": environment(path, **(env or {}))}
    begun = warm_starter().start(command, **how) if warm else start([sys.executable, *command], **how)
    with stopped(begun, grace=15) as child:

        def ports() -> dict[str, Any] | None:
            child.require_running()
            lines: list[dict[str, Any]] = [
                orjson.loads(line) for line in log.read_text().splitlines() if line.startswith("{")
            ]
            if not any(line["event"] == "ready" for line in lines):
                return None
            return next((line for line in lines if line["event"] == "starting"), None)

        started = wait_until(ports, deadline=READY_SECONDS, describe=child.log_tail)
        port = started.get("port", 0)
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield RuntimeProcess(child, directory, port, started["admin_port"], client)
