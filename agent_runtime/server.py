"""The serving process from its first socket to its last answer."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import math
import socket
from collections.abc import Awaitable
from contextlib import AsyncExitStack

import structlog
import uvicorn
from starlette.types import ASGIApp

from agent_runtime.api.live_runs import LiveRuns
from agent_runtime.api_keys import ApiKeys
from agent_runtime.app import build_app
from agent_runtime.beside import run_beside
from agent_runtime.bounded_http import PatientHttpProtocol
from agent_runtime.config import RuntimeConfig
from agent_runtime.ending import Ending
from agent_runtime.lifecycle import Lifecycle, Phase
from agent_runtime.observed import Observed
from agent_runtime.pipeline.admission import Admission
from agent_runtime.pipeline.idempotency import Idempotency
from agent_runtime.pipeline.interruption import Turns
from agent_runtime.resources import open_resources
from agent_runtime.settings import ConfigurationError
from agent_runtime.state.idempotency import KEPT_SECONDS, SqlIdempotency
from agent_runtime.state.retention import keep_for
from agent_runtime.state.runs import SqlRuns
from agent_runtime.state.schema import ANSWER_AGES
from agent_runtime.tasks.runner import TaskRunner, open_runner
from agent_runtime.told import Told

_log = structlog.get_logger()

GOODBYE_SECONDS = 2.0
"""After the drain: for callers whose answers were cut to be told so. The pod's grace period has room for it."""
_KEEP_ALIVE_SECONDS = 75
"""Longer than the pools of common proxies keep an idle connection (60 s): theirs end first, so that none sends into a
connection that we are closing."""


def bind(address: str, port: int, *, variable: str) -> socket.socket:
    """A listening socket; on all addresses, IPv6 and IPv4, where `address` is empty.

    Raises:
        ConfigurationError: the port is taken or not allowed to us, or the address is not of this host; the message
            names the variable to set, which is `variable` for the port.
    """
    try:
        if address:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return socket.create_server((address, port), family=family, backlog=2048)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=2048)
        return socket.create_server(("", port), backlog=2048)
    except OSError as error:
        remedy = f"{variable} to a free port"
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            remedy = "BIND_ADDRESS to an address of this host"
        reason, _, _ = str(error.strerror).partition(" (while")
        raise ConfigurationError(
            f"{address or '*'}:{port} cannot be listened on ({reason}); set {remedy}", Ending.PORT_UNAVAILABLE
        ) from None


def is_loopback(listener: socket.socket) -> bool:
    """Whether a process is for this machine alone, and so on it: in a pod, nobody else would reach it."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


async def serve_until_told(
    config: RuntimeConfig,
    *,
    listener: socket.socket,
    keys: ApiKeys,
    lifecycle: Lifecycle,
    admission: Admission,
    observed: Observed,
) -> None:
    """Serve on `listener` until SIGTERM or SIGINT, then drain; tell `observed` what is seen.

    A second signal ends the drain.

    Raises:
        ConfigurationError: the database of the conversations cannot be used, or a tool can never work.
    """
    told = Told()
    async with AsyncExitStack() as stack:
        await run_beside(stack, lifecycle.beat())
        await run_beside(stack, keys.watch())
        resources = await open_resources(config, stack, observed=observed, loopback=is_loopback(listener))
        database, presence = resources.database, resources.presence
        runs, idempotency = LiveRuns(SqlRuns(database, presence)), Idempotency(SqlIdempotency(database, presence))
        await run_beside(stack, keep_for(KEPT_SECONDS, ANSWER_AGES, database))
        if told.first.is_set():
            return
        turns = Turns()
        app = build_app(
            resources,
            keys=keys,
            lifecycle=lifecycle,
            turns=turns,
            admission=admission,
            runs=runs,
            idempotency=idempotency,
        )
        runner = await open_runner(resources, concurrency=0 if config.tasks.in_workers else config.tasks.concurrency)
        await run_beside(stack, runner.run())
        server = await _start(app, listener)
        await run_beside(stack, server.main_loop())
        lifecycle.phase = Phase.SERVING
        _log.info("ready", agents=[agent.name for agent in config.agents])

        await told.first.wait()
        runner.leave()
        if not told.by_terminal:
            lifecycle.phase = Phase.LAME_DUCK
            _log.info("leaving", lame_duck_seconds=config.lame_duck_seconds, in_flight=len(turns), tasks=len(runner))
            await told.again_within(config.lame_duck_seconds)
        lifecycle.phase = Phase.DRAINING
        _log.info("draining", drain_seconds=config.drain_seconds, in_flight=len(turns), tasks=len(runner))
        resources.bell.wake_all()  # who follows a task goes on elsewhere
        await _drain(server, turns, runs, runner, told=told, seconds=config.drain_seconds)
        _log.info("drained")


async def _start(app: ASGIApp, listener: socket.socket) -> uvicorn.Server:
    """Uvicorn without its own signal handling and shutdown, whose order is not ours."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        http=PatientHttpProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    return server


async def _drain(
    server: uvicorn.Server, turns: Turns, runs: LiveRuns, runner: TaskRunner, *, told: Told, seconds: float
) -> None:
    """Stop listening, let turns and tasks finish for `seconds`, tell the turns that are left that they end, and close.

    Tasks that are left need no telling: they go back to the queue when the runner ends.
    """
    server.config.timeout_graceful_shutdown = math.ceil(seconds + GOODBYE_SECONDS)
    closing = asyncio.create_task(_end(server, runs))
    finished = asyncio.create_task(_all(closing, runner.finish()))
    patience = asyncio.create_task(told.again_within(seconds))
    await asyncio.wait([finished, patience], return_when=asyncio.FIRST_COMPLETED)
    patience.cancel()
    if not closing.done():
        if turns:
            _log.warning("turns cut by the end of the drain", turns=len(turns))
        turns.end_all()
        for connection in list(server.server_state.connections):
            if isinstance(connection, PatientHttpProtocol):
                connection.cease()
        await asyncio.wait({closing}, timeout=GOODBYE_SECONDS)
        server.force_exit = True
    await closing
    finished.cancel()


async def _all(*work: Awaitable[None]) -> None:
    await asyncio.gather(*work)


async def _end(server: uvicorn.Server, runs: LiveRuns) -> None:
    await server.shutdown()
    await runs.finish()
