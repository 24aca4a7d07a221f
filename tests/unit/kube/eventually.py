"""Wait for what an asynchronous part will do, with a deadline and words for what was there instead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def eventually(predicate: Callable[[], object], describe: Callable[[], object], *, within: float = 10.0) -> None:
    """Return as soon as ``predicate`` holds; after ``within`` seconds fail with what ``describe`` says."""
    deadline = time.monotonic() + within
    while not predicate():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {describe()}")
        await asyncio.sleep(0.01)
