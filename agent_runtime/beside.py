"""Work that goes on beside a block of code, and surely ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any

import structlog

AGAIN_SECONDS = 0.2

_log = structlog.get_logger()


async def run_beside(stack: AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until `stack` ends."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell)
    stack.push_async_callback(end, task)


def _tell(task: asyncio.Task[None]) -> None:
    """Nobody waits for it before the end, and by then its failure would be old."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("what runs beside has failed", work=repr(task.get_coro()), exc_info=error)


async def end(task: asyncio.Task[None]) -> None:
    """Cancel `task` until it has ended: clients of servers take a cancellation that meets their own for a time-out.

    Raises:
        Exception: it failed.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN_SECONDS)
    with suppress(asyncio.CancelledError):
        task.result()
