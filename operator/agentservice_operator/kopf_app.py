"""The part of the operator that kopf runs: the watch of AgentServices, login, start and stop.

Only ``on.event`` is used for resources: kopf's other handlers are edge-triggered and write annotations or finalizers.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import kopf

from agentservice_operator.api.v1alpha1.types import GROUP, PLURAL, VERSION
from agentservice_operator.engine.ports import Object
from agentservice_operator.kube.client import PAGE

REQUEST_TIMEOUT_SECONDS = 30.0
WATCH_TIMEOUT_SECONDS = 290
"""The server ends a watch after this long, so that no connection outlives what proxies in between allow."""
RECURSION_LIMIT = 50_000
"""kopf reads and copies whole objects recursively, two calls a level, and ends where it cannot. The API server takes
10,000 levels: nobody shall end the operator by writing one AgentService."""
EXIT_TIMEOUT_SECONDS = 15.0
"""Below the pod's grace period of 30 s."""


@dataclass(frozen=True, slots=True)
class Handlers:
    """What kopf calls."""

    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]
    listed: Callable[[Object], None]
    changed: Callable[[Object], None]
    deleted: Callable[[Object], None]


async def serve(handlers: Handlers, *, namespaces: Sequence[str], stop: asyncio.Event) -> None:
    """Run kopf until ``stop`` is set or the process is told to end.

    Args:
        handlers: What to call; the resource handlers must not block.
        namespaces: Where to watch; none means the whole cluster.
        stop: Ends it from inside.
    """
    sys.setrecursionlimit(RECURSION_LIMIT)
    await kopf.operator(
        registry=_registry(handlers),
        settings=_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )


def _registry(handlers: Handlers) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    async def on_startup(**_: Any) -> None:
        await handlers.start()

    async def on_cleanup(**_: Any) -> None:
        await handlers.stop()

    async def on_login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        # Into cache and queue, nothing else: an error here would be logged and never retried.
        take = {None: handlers.listed, "DELETED": handlers.deleted}.get(event["type"], handlers.changed)
        take(dict(event["object"]))

    kopf.on.startup(registry=registry)(on_startup)
    kopf.on.cleanup(registry=registry)(on_cleanup)
    kopf.on.login(registry=registry)(on_login)
    kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(on_event)
    return registry


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = REQUEST_TIMEOUT_SECONDS
    settings.networking.connect_timeout = 10.0
    settings.networking.enforce_retry_after = True
    settings.watching.server_timeout = WATCH_TIMEOUT_SECONDS
    settings.watching.connect_timeout = 10.0
    settings.watching.chunk_size = PAGE
    settings.process.ultimate_exiting_timeout = EXIT_TIMEOUT_SECONDS
    return settings
