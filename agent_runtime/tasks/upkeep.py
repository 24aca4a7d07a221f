"""What every process does beside its tasks: count them for the metrics, and forget those whose time is over."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from agent_runtime import metrics
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.tasks import SqlTasks

LOOK_SECONDS = 10.0


async def look_after(tasks: SqlTasks, *, ttl_seconds: float) -> None:
    """Count and forget again and again, until cancelled."""
    while True:
        with suppress(StateUnavailableError):  # it has been logged, and the next look comes
            await tasks.forget(ttl_seconds)
            for status, count in (await tasks.counts()).items():
                metrics.TASKS.labels(status.value).set(count)
        await asyncio.sleep(LOOK_SECONDS)
