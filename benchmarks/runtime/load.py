"""Callers: so many at once for so long, one after the other, or many who hold a stream open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp

ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Call:
    """One request, the same again and again."""

    url: str
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def session(connections: int) -> AsyncIterator[aiohttp.ClientSession]:
    """Callers with so many connections, which stay open."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as client:
        yield client


async def ask(client: aiohttp.ClientSession, call: Call) -> None:
    """One whole answer.

    Raises:
        RuntimeError: it is not a success, so nothing that was measured would mean anything.
    """
    async with client.post(call.url, json=call.body, headers=call.headers) as response:
        answer = await response.read()
        if response.status != HTTPStatus.OK:
            raise RuntimeError(f"{call.url}: {response.status} {answer[:500].decode(errors='replace')}")


async def for_seconds(call: Call, *, callers: int, seconds: float) -> int:
    """Ask from `callers` at once for `seconds`; how many answers came."""
    end = time.monotonic() + seconds
    answers = 0

    async def again_and_again() -> None:
        nonlocal answers
        while time.monotonic() < end:
            await ask(client, call)
            answers += 1

    async with session(callers) as client, asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(again_and_again())
    return answers


async def one_by_one(call: Call, count: int) -> list[float]:
    """Milliseconds of each of `count` answers, asked for by one caller on one connection."""
    found = []
    async with session(1) as client:
        await ask(client, call)
        for _ in range(count):
            began = time.perf_counter()
            await ask(client, call)
            found.append(1000 * (time.perf_counter() - began))
    return found


async def probes(url: str, *, seconds: float, every: float = 0.02) -> list[float]:
    """Milliseconds of each GET to `url`, one every `every` seconds and for `seconds`."""
    found = []
    end = time.monotonic() + seconds
    async with session(1) as client:
        while time.monotonic() < end:
            began = time.perf_counter()
            async with client.get(url) as response:
                response.raise_for_status()
                await response.read()
            found.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(every)
    return found


@asynccontextmanager
async def open_streams(call: Call, count: int) -> AsyncIterator[None]:
    """`count` answers that have begun and not ended, as long as the block runs."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(session(count))

        async def begin() -> None:
            response = await stack.enter_async_context(client.post(call.url, json=call.body, headers=call.headers))
            response.raise_for_status()
            await response.content.readline()

        for _ in range(0, count, 50):
            await asyncio.gather(*(begin() for _ in range(50)))
        yield
