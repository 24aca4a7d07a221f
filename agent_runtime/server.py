"""The serving process from its first socket to its last answer."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import math
import signal
import socket
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp

from agent_runtime.agent.model import Model
from agent_runtime.agent.providers import open_models
from agent_runtime.agent.tools import open_tools
from agent_runtime.api.live_runs import LiveRuns
from agent_runtime.api_keys import ApiKeys
from agent_runtime.app import build_app
from agent_runtime.bounded_http import BoundedHttpProtocol
from agent_runtime.config import RuntimeConfig
from agent_runtime.cost import open_prices
from agent_runtime.ending import Ending
from agent_runtime.lifecycle import Lifecycle, Phase
from agent_runtime.pipeline.admission import Admission
from agent_runtime.pipeline.idempotency import Idempotency
from agent_runtime.pipeline.interruption import Turns
from agent_runtime.settings import ConfigurationError
from agent_runtime.state.conversation_leases import ConversationLeases
from agent_runtime.state.conversations import SqlConversations
from agent_runtime.state.engines import open_database
from agent_runtime.state.idempotency import SqlIdempotency
from agent_runtime.state.presence import Presence
from agent_runtime.state.retention import keep_for
from agent_runtime.state.runs import SqlRuns
from agent_runtime.state.usage import InteractionLog, SqlLedger, rows_within
from agent_runtime.state.write_behind import WriteBehind

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


async def serve_until_told(
    config: RuntimeConfig,
    *,
    listener: socket.socket,
    keys: ApiKeys,
    lifecycle: Lifecycle,
    admission: Admission,
    models: dict[str, Model],
) -> None:
    """Serve on `listener` until SIGTERM or SIGINT, then drain; `models` is filled when they are open.

    SIGTERM is Kubernetes: other replicas' callers still come for a moment, and are served. SIGINT is a person at a
    terminal: nobody else will come. A second signal ends the drain.

    Raises:
        ConfigurationError: the database of the conversations cannot be used, or a tool can never work.
    """
    told = _Told()
    async with AsyncExitStack() as stack:
        await _run_beside(stack, lifecycle.beat())
        await _run_beside(stack, keys.watch())
        database = await open_database(config)
        stack.push_async_callback(database.aclose)
        presence = Presence(database)
        stack.push_async_callback(presence.withdraw)
        await _run_beside(stack, presence.keep())
        leases = ConversationLeases(database, presence) if database.shared else None
        if leases is not None:
            stack.push_async_callback(leases.aclose)
        conversations = SqlConversations(database, leases=leases, max_bytes=config.state.max_bytes)
        await _run_beside(stack, keep_for(config.state.retention_days, database))
        runs, idempotency = LiveRuns(SqlRuns(database, presence)), Idempotency(SqlIdempotency(database, presence))
        await _run_beside(stack, runs.store.keep_fresh())
        await _run_beside(stack, idempotency.store.keep_fresh())
        rows = WriteBehind(database, max_rows=None if database.shared else rows_within(config.state.max_bytes))
        stack.push_async_callback(rows.aclose)
        await _run_beside(stack, rows.write())
        models.update(await open_models(config))
        for model in models.values():
            stack.push_async_callback(model.provider.aclose)
        # Whoever serves this machine alone is on it: in a pod, nobody else would reach the runtime.
        loopback = ipaddress.ip_address(listener.getsockname()[0]).is_loopback
        tools = await open_tools(config, loopback=loopback)
        for tool in tools.values():
            stack.push_async_callback(tool.aclose)
        if told.first.is_set():
            return
        prices = await open_prices(config)
        turns = Turns()
        app = build_app(
            config,
            models=models,
            prices=prices,
            tools=tools,
            ledger=SqlLedger(rows, prices, process=presence.id),
            interactions=InteractionLog(rows),
            keys=keys,
            lifecycle=lifecycle,
            turns=turns,
            admission=admission,
            database=database,
            conversations=conversations,
            leases=leases,
            runs=runs,
            idempotency=idempotency,
        )
        server = await _start(app, listener)
        await _run_beside(stack, server.main_loop())
        lifecycle.phase = Phase.SERVING
        _log.info("ready", agents=[agent.name for agent in config.agents])

        await told.first.wait()
        if not told.by_terminal:
            lifecycle.phase = Phase.LAME_DUCK
            _log.info("leaving", lame_duck_seconds=config.lame_duck_seconds, in_flight=len(turns))
            await told.again_within(config.lame_duck_seconds)
        lifecycle.phase = Phase.DRAINING
        _log.info("draining", drain_seconds=config.drain_seconds, in_flight=len(turns))
        await _drain(server, turns, runs, told, config.drain_seconds)
        _log.info("drained")


class _Told:
    """The signals to end that came."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.by_terminal = False
        self._again = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.first.is_set():
            self._again.set()
        self.by_terminal = self.by_terminal or number == signal.SIGINT
        self.first.set()

    async def again_within(self, seconds: float) -> None:
        """Return after `seconds`, or at once when a second signal has come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._again.wait()


async def _start(app: ASGIApp, listener: socket.socket) -> uvicorn.Server:
    """Uvicorn without its own signal handling and shutdown, whose order is not ours."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        http=BoundedHttpProtocol,
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


async def _drain(server: uvicorn.Server, turns: Turns, runs: LiveRuns, told: _Told, seconds: float) -> None:
    """Stop listening, let turns finish for `seconds`, tell the others that they end, and close."""
    server.config.timeout_graceful_shutdown = math.ceil(seconds + GOODBYE_SECONDS)
    closing = asyncio.create_task(_end(server, runs))
    patience = asyncio.create_task(told.again_within(seconds))
    await asyncio.wait({closing, patience}, return_when=asyncio.FIRST_COMPLETED)
    patience.cancel()
    if not closing.done():
        _log.warning("turns cut by the end of the drain", turns=len(turns))
        turns.end_all()
        await asyncio.wait({closing}, timeout=GOODBYE_SECONDS)
        server.force_exit = True
    await closing


async def _end(server: uvicorn.Server, runs: LiveRuns) -> None:
    await server.shutdown()
    await runs.finish()


async def _run_beside(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until `stack` ends."""
    task = asyncio.create_task(work)

    async def stop() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(stop)
