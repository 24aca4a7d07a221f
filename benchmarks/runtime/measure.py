"""The measurements. What is compared is measured in turns, so that a busy minute is everybody's."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.process_figures import cpu_seconds, resident_kib
from benchmarks.runtime import load, servers
from benchmarks.runtime.litellm_proxy import MODEL
from benchmarks.runtime.servers import OPEN_STREAMS, Server
from dev.progress import say

Figures = dict[str, Any]

CALLERS = 32
EVENTS = 200
"""Of the streams whose CPU is measured."""
_LONG = 3600.0
"""Seconds that a stream which is only held open would take."""


def throughput(server: Server, seconds: float) -> Figures:
    """What `server` answers to as many callers as keep it busy, and what CPU it takes for that."""
    cpu = cpu_seconds(server.child.pid)
    answers = asyncio.run(load.for_seconds(server.chat, callers=CALLERS, seconds=seconds))
    cpu = cpu_seconds(server.child.pid) - cpu
    return {
        "per_second": answers / seconds,
        "per_cpu_second": answers / cpu,
        "cpu_ms": 1000 * cpu / answers,
        "resident_kib": resident_kib(server.child.pid),
    }


def latency(call: load.Call, count: int) -> Figures:
    """Milliseconds that one caller waits."""
    found = asyncio.run(load.one_by_one(call, count))
    return {"p50_ms": percentile(found, 50), "p99_ms": percentile(found, 99)}


def streaming(server: Server, count: int) -> Figures:
    """CPU for a stream of EVENTS pieces of text, eight at a time."""
    cpu = cpu_seconds(server.child.pid)

    async def streams() -> None:
        async with load.session(8) as client:
            for _ in range(0, count, 8):
                await asyncio.gather(*(load.ask(client, server.stream) for _ in range(8)))

    asyncio.run(streams())
    return {"cpu_ms": 1000 * (cpu_seconds(server.child.pid) - cpu) / count}


def probes_at_saturation(server: Server, seconds: float) -> Figures:
    """Milliseconds of probes of the admin port while CALLERS keep the server busy."""

    async def both() -> list[float]:
        _, found = await asyncio.gather(
            load.for_seconds(server.chat, callers=CALLERS, seconds=seconds),
            load.probes(f"{server.admin}/livez", seconds=seconds),
        )
        return found

    return {"p99_ms": percentile(asyncio.run(both()), 99)}


def held_streams(folder: Path, upstream: str) -> Figures:
    """Memory of the runtime: idle, and with OPEN_STREAMS streams that have begun and do not end."""
    servers.script(upstream, deltas=["A", "B"], delta_delay=_LONG)
    with servers.runtime(folder, upstream, store=False) as server:
        idle = resident_kib(server.child.pid)

        async def hold() -> int:
            async with load.open_streams(server.stream, OPEN_STREAMS):
                return resident_kib(server.child.pid)

        held = asyncio.run(hold())
        return {"idle_kib": idle, "held_kib": held, "ready_seconds": server.ready_seconds}


def memory_over(folder: Path, upstream: str, requests: int) -> Figures:
    """Memory of the runtime after a tenth of `requests`, and after all of them."""
    servers.script(upstream)
    with servers.runtime(folder, upstream, store=False) as server:
        answered, early = 0, 0
        while answered < requests:
            answered += asyncio.run(load.for_seconds(server.chat, callers=CALLERS, seconds=2))
            servers.forget_requests(upstream)
            if not early and answered >= requests / 10:
                early = resident_kib(server.child.pid)
        return {"requests": answered, "early_kib": early, "late_kib": resident_kib(server.child.pid)}


def measure_all(folder: Path, program: Path, *, rounds: int, seconds: float, requests: int) -> Figures:
    """Everything.

    Args:
        folder: for what the servers write.
        program: LiteLLM's.
        rounds: of what is compared.
        seconds: that each server is kept busy in each round.
        requests: over which memory should stay flat.
    """
    found: Figures = {"rounds": [], "callers": CALLERS, "events": EVENTS}
    with ExitStack() as stack:
        upstream = stack.enter_context(servers.upstream(folder))
        say("==> start of all servers")
        with servers.all_of(folder, upstream, program) as running:
            found["start"] = {
                server.name: {
                    "ready_seconds": server.ready_seconds,
                    "resident_kib": resident_kib(server.child.pid),
                }
                for server in running
            }
            for number in range(rounds):
                say(f"==> round {number + 1} of {rounds}")
                found["rounds"].append(_round(running, upstream, seconds))
            say("==> probes while the runtime is busy")
            servers.script(upstream)
            found["probes"] = probes_at_saturation(_named(running, "runtime"), seconds)
        say(f"==> {OPEN_STREAMS} open streams")
        found["streams"] = held_streams(folder / "held", upstream)
        say(f"==> memory over {requests} requests")
        found["memory"] = memory_over(folder / "memory", upstream, requests)
    return found


def _round(running: list[Server], upstream: str, seconds: float) -> Figures:
    figures: Figures = {"throughput": {}, "latency": {}, "streaming": {}}
    for server in running:
        with _said(upstream, server, "throughput"):
            servers.script(upstream)
            figures["throughput"][server.name] = throughput(server, seconds)
    figures["latency"]["direct"] = latency(_direct(upstream), int(50 * seconds))
    for server in running:
        with _said(upstream, server, "latency"):
            figures["latency"][server.name] = latency(server.chat, int(50 * seconds))
    servers.script(upstream, deltas=["word "] * EVENTS)
    for server in running:
        with _said(upstream, server, "streams"):
            figures["streaming"][server.name] = streaming(server, max(8, int(8 * seconds)))
    return figures


@contextmanager
def _said(upstream: str, server: Server, what: str) -> Iterator[None]:
    """Say what is measured, and let the fake forget it."""
    say(f"    {what}: {server.name}")
    yield
    servers.forget_requests(upstream)


def _direct(upstream: str) -> load.Call:
    """What the runtime asks the fake, from a caller."""
    messages = [{"role": "user", "content": servers.MESSAGE}]
    body = {"model": MODEL, "max_tokens": 1024, "stream": True, "messages": messages}
    return load.Call(f"{upstream}/v1/messages", body)


def _named(running: list[Server], name: str) -> Server:
    return next(server for server in running if server.name == name)


def percentile(values: list[float], percent: int) -> float:
    """A percentile of some values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
