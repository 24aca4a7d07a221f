"""What every process does beside its tasks: count them for the metrics, and forget those whose time is over."""

from __future__ import annotations

import asyncio

import structlog

from agent_runtime import metrics
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.tasks import SqlTasks

LOOK_SECONDS = 10.0

_log = structlog.get_logger()


async def look_after(tasks: SqlTasks, *, ttl_seconds: float) -> None:
    """Count and forget again and again, until cancelled."""
    while True:
        try:
            await tasks.forget(ttl_seconds)
            for status, count in (await tasks.counts()).items():
                metrics.TASKS.labels(status.value).set(count)
        except StateUnavailableError:  # it has been logged, and the next look comes
            pass
        except Exception:  # noqa: BLE001 - without the next look the database grows for as long as the process runs
            _log.exception("tasks cannot be looked after")
        await asyncio.sleep(LOOK_SECONDS)
