"""The admin port: probes, metrics and status.

In a thread with a loop of its own, so that they answer when the main loop cannot.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_runtime import __version__
from agent_runtime.agent.model import Model
from agent_runtime.bounded_http import BoundedHttpProtocol
from agent_runtime.capabilities import capabilities
from agent_runtime.config import SCHEMA_VERSION, ModelConfig, RuntimeConfig
from agent_runtime.lifecycle import Lifecycle, Phase
from agent_runtime.observed import Observed
from agent_runtime.pipeline.admission import Admission
from agent_runtime.state.task import TaskStatus


@contextmanager
def admin_server(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Serve `app` on `listener` from a thread, as long as the block runs."""
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=BoundedHttpProtocol,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="admin", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        thread.join(timeout=2)


def admin_app(
    config: RuntimeConfig,
    *,
    revision: str,
    lifecycle: Lifecycle,
    admission: Admission | None,
    observed: Observed,
) -> ASGIApp:
    """The paths of the admin port. They need no key: the port is not part of the Service.

    Args:
        config: what the process was told.
        revision: of the pod template that it runs.
        lifecycle: the phase of the process.
        admission: how many requests are in work; None where none are served.
        observed: what the main loop has seen.
    """
    understood = capabilities()

    def statusz() -> Response:
        status = {
            "service": config.service,
            "namespace": config.namespace,
            "version": __version__,
            "schema_version": SCHEMA_VERSION,
            "revision": revision,
            "phase": lifecycle.phase.value,
            "uptime_seconds": round(time.monotonic() - lifecycle.started_at, 3),
            "agents": [agent.name for agent in config.agents],
            "models": [_model(model, observed.models.get(model.name)) for model in config.models],
            "queue": _queue(admission, observed),
            "capabilities": understood,
        }
        return Response(orjson.dumps(status), media_type="application/json")

    def metrics() -> Response:
        return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    paths = {
        "/livez": lambda: _probe(_stalled(lifecycle)),
        "/readyz": lambda: _probe(_stalled(lifecycle) or _not_serving(lifecycle)),
        "/startupz": lambda: _probe("" if lifecycle.started else "starting"),
        "/statusz": statusz,
        "/metrics": metrics,
    }

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "HEAD"}:
            response: Response = PlainTextResponse("only GET\n", 405, {"Allow": "GET, HEAD"})
        elif path := paths.get(scope["path"]):
            response = path()
        else:
            response = PlainTextResponse(f"there are {' '.join(paths)}\n", 404)
        await response(scope, receive, send)

    return app


def _queue(admission: Admission | None, observed: Observed) -> dict[str, Any]:
    """What is in work and what waits: requests of this process, tasks of the service."""
    queue: dict[str, Any] = {}
    if admission is not None:
        queue["requests"] = {"in_flight": admission.in_flight, "queued": admission.queued, "limit": admission.limit}
    tasks = observed.tasks
    if tasks is not None:
        queue["tasks"] = {status.value: tasks[status] for status in (TaskStatus.PENDING, TaskStatus.RUNNING)}
    return queue


def _model(configured: ModelConfig, model: Model | None) -> dict[str, Any]:
    status: dict[str, Any] = {"name": configured.name, "provider": configured.provider}
    if model is not None:
        status |= model.health.document()
        if model.provider.retires:
            status["retires"] = model.provider.retires.isoformat()
    return status


def _stalled(lifecycle: Lifecycle) -> str:
    stalled = lifecycle.stalled_seconds()
    return f"the main loop has stood still for {stalled:.1f} s" if stalled else ""


def _not_serving(lifecycle: Lifecycle) -> str:
    return "" if lifecycle.phase is Phase.SERVING else lifecycle.phase.value


def _probe(reason: str) -> Response:
    return PlainTextResponse(f"{reason}\n", 503) if reason else PlainTextResponse("ok\n")
