"""GET /health: how the process and what it needs do, for people and monitors with a key. Never calls a model."""

from __future__ import annotations

import asyncio
import resource
import shutil
import time
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from sqlalchemy import Connection, select
from starlette.responses import Response

from agent_runtime import __version__
from agent_runtime.agent.health import Health as ModelHealth
from agent_runtime.agent.model import Model
from agent_runtime.agent.tools.tool import ToolSource
from agent_runtime.api.answers import HealthDocument
from agent_runtime.api.json_response import json_response
from agent_runtime.api.openapi import operation
from agent_runtime.config import RuntimeConfig
from agent_runtime.lifecycle import Lifecycle
from agent_runtime.pipeline.admission import Admission
from agent_runtime.pipeline.statistics import Statistics
from agent_runtime.state.database import Database, StateUnavailableError
from agent_runtime.state.task import TaskStatus
from agent_runtime.state.tasks import SqlTasks
from agent_runtime.tasks.bell import IDLE_SECONDS, POLL_SECONDS, Bell, BellError

ANSWER_SECONDS = 2.0
"""After which a database or a Redis that does not answer counts as failing."""
_UNFINISHED = (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.AWAITING_APPROVAL)
_PAGE_BYTES = resource.getpagesize()
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


class Status(StrEnum):
    """Of a component, and of all of them."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Some requests fail, or may."""
    UNHEALTHY = "unhealthy"
    """No agent can answer."""


def health_routes(
    config: RuntimeConfig,
    *,
    lifecycle: Lifecycle,
    models: Mapping[str, Model],
    tools: Mapping[str, ToolSource],
    database: Database,
    tasks: SqlTasks,
    bell: Bell,
    admission: Admission,
    statistics: Statistics,
) -> APIRouter:
    """GET /health."""
    router = APIRouter(tags=["Service"])
    servers = [tool.name for tool in config.tools if tool.mcp is not None]
    statuses = (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE)

    @router.get("/health", **operation("Read how the service does", answer=HealthDocument, statuses=statuses))
    async def health() -> Response:
        of_database, of_redis, unfinished = await asyncio.gather(_database(database), _redis(bell), _tasks(tasks))
        components = {"database": of_database, **of_redis}
        components |= {f"model {name}": _model(model) for name, model in models.items()}
        components |= {f"tool {name}": _mcp_server(tools[name]) for name in servers}
        agents = {
            name: {
                "status": Status.DEGRADED if each.degraded else Status.HEALTHY,
                "error_percent": round(100 * each.error_share, 1),
            }
            for name, each in statistics.of.items()
        }
        used = {agent.model for agent in config.agents}
        status = _overall(
            [component["status"] for component in components.values()] + [agent["status"] for agent in agents.values()],
            answering=any(components[f"model {name}"]["status"] is not Status.UNHEALTHY for name in used),
        )
        document = {
            "status": status,
            "version": __version__,
            "phase": lifecycle.phase.value,
            "uptime_seconds": round(time.monotonic() - lifecycle.started_at, 3),
            "components": components,
            "agents": agents,
            "requests": {"in_flight": admission.in_flight, "queued": admission.queued, "limit": admission.limit},
            "tasks": unfinished,
            "resources": await asyncio.to_thread(_resources, config),
        }
        return json_response(document, HTTPStatus.SERVICE_UNAVAILABLE if status is Status.UNHEALTHY else HTTPStatus.OK)

    return router


def _overall(statuses: list[Status], *, answering: bool) -> Status:
    if not answering:
        return Status.UNHEALTHY
    return Status.HEALTHY if all(status is Status.HEALTHY for status in statuses) else Status.DEGRADED


async def _database(database: Database) -> dict[str, Any]:
    """Degraded at worst: without a database, requests with ``store: false`` are answered all the same."""

    def ask(connection: Connection) -> None:
        connection.execute(select(1))

    began = time.monotonic()
    message = None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await database.run(ask)
    except StateUnavailableError as error:
        message = f"{error}; requests with store: false are answered"
    except TimeoutError:
        message = f"does not answer within {ANSWER_SECONDS:g} s; requests with store: false are answered"
    return _server(time.monotonic() - began, message)


async def _redis(bell: Bell) -> dict[str, dict[str, Any]]:
    """Nothing where there is none. Degraded at worst: without it, processes look into the database by themselves."""
    began = time.monotonic()
    message = None
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            if not await bell.ping():
                return {}
    except BellError as error:
        message = f"{error}; tasks are looked for every {POLL_SECONDS:g} s"
    except TimeoutError:
        message = f"does not answer within {ANSWER_SECONDS:g} s; tasks are looked for every {IDLE_SECONDS:g} s at least"
    return {"redis": _server(time.monotonic() - began, message)}


def _server(seconds: float, message: str | None) -> dict[str, Any]:
    """One that was asked, and took so long to answer or to fail."""
    component = {
        "status": Status.DEGRADED if message else Status.HEALTHY,
        "latency_ms": round(1000 * seconds, 1),
    }
    return {**component, "message": message} if message else component


async def _tasks(tasks: SqlTasks) -> dict[str, int] | None:
    """Of all clients, those that are not over; None where the database, which is a component, does not tell."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            counts = await tasks.counts()
    except (StateUnavailableError, TimeoutError):
        return None
    return {status.value: counts[status] for status in _UNFINISHED}


def _model(model: Model) -> dict[str, Any]:
    """From the calls that were made: a model that nobody has asked yet is taken for healthy."""
    now = model.health.now
    if now.health is ModelHealth.FAILING:
        return {"status": Status.UNHEALTHY, "message": f"its latest calls failed: {now.code}"}
    return {"status": Status.HEALTHY}


def _mcp_server(tool: ToolSource) -> dict[str, Any]:
    """From the looks at its tools that were needed. Without them agents answer all the same."""
    if tool.fault is None:
        return {"status": Status.HEALTHY}
    return {"status": Status.DEGRADED, "message": f"it {tool.fault}"}


def _resources(config: RuntimeConfig) -> dict[str, Any]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    resources: dict[str, Any] = {
        "cpu": {"seconds": round(usage.ru_utime + usage.ru_stime, 3)},
        "memory": {"resident_bytes": resident, "limit_bytes": _memory_limit()},
    }
    if config.state.path is not None:
        disk = shutil.disk_usage(Path(config.state.path).parent)
        resources["disk"] = {"used_bytes": disk.used, "total_bytes": disk.total}
    return resources


def _memory_limit() -> int | None:
    """Of the container; None where it has none, or where no cgroup tells."""
    try:
        return int(_MEMORY_LIMIT.read_text())
    except (OSError, ValueError):
        return None
