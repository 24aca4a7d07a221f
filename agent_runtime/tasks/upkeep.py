"""What every process does beside its tasks: count them for whoever watches, and forget those whose time is over."""

from __future__ import annotations

import asyncio

import structlog

from agent_runtime import metrics
from agent_runtime.observed import Observed
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.tasks import SqlTasks

LOOK_SECONDS = 10.0

_log = structlog.get_logger()


async def look_after(tasks: SqlTasks, observed: Observed, *, ttl_seconds: float) -> None:
    """Count and forget again and again, until cancelled."""
    while True:
        try:
            await tasks.forget(ttl_seconds)
            observed.tasks = await tasks.counts()
            for status, count in observed.tasks.items():
                metrics.TASKS.labels(status.value).set(count)
        except StateUnavailableError:  # it has been logged, and the next look comes
            observed.tasks = None
        except Exception:  # noqa: BLE001 - without the next look the database grows for as long as the process runs
            observed.tasks = None
            _log.exception("tasks cannot be looked after")
        await asyncio.sleep(LOOK_SECONDS)
