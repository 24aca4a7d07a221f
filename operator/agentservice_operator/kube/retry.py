"""When a request that failed is sent again: at most four times, none of them started after eight seconds.

What lasts longer is the work queue's business, whose backoff knows the object.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from agentservice_operator.engine.ports import KubernetesError

TRIES = 4
WITHIN = 8.0
"""Seconds after the first try in which another one may start."""
FIRST_DELAY = 0.25
"""Seconds; doubles with each try, and is spread by half to either side."""

T = TypeVar("T")


async def with_retries(
    send: Callable[[], Awaitable[T]],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    spread: Callable[[float, float], float] = random.uniform,
) -> T:
    """Call ``send`` until it answers, fails for good, or the budget is spent; then its last error is raised.

    Every request that goes through here may be repeated: an apply and a delete with a uid change nothing the second
    time, and a create whose first answer was lost is told ``AlreadyExists``.
    """
    deadline = clock() + WITHIN
    for tried in range(1, TRIES + 1):
        try:
            return await send()
        except KubernetesError as error:
            delay = FIRST_DELAY * 2 ** (tried - 1) * spread(0.5, 1.5)
            if error.retry_after is not None:
                delay += error.retry_after
            if tried == TRIES or not may_pass(error) or clock() + delay > deadline:
                raise
        await sleep(delay)
    raise AssertionError("unreachable: the last try returns or raises")


def may_pass(error: KubernetesError) -> bool:
    """Say whether the same request may succeed in a moment: no answer, throttled, a server's fault, an old token."""
    if type(error) is not KubernetesError:
        return False  # each subclass is an answer to act on
    return error.status is None or error.status in {401, 409, 429} or error.status >= 500  # noqa: PLR2004 - RFC 9110
