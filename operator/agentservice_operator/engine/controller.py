"""The workers: take a key, reconcile it, decide when to look at it again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from agentservice_operator.engine.kinds import ServiceKey
from agentservice_operator.engine.ports import KubernetesError, NotLeader
from agentservice_operator.engine.queue import Priority, WorkQueue
from agentservice_operator.engine.reconcile import Result
from agentservice_operator.metrics import Metrics

log = structlog.get_logger(__name__)

RECONCILE_TIMEOUT_SECONDS = 60.0
NOT_LEADER_SECONDS = 1.0


class Leadership(Protocol):
    """Whether this replica writes."""

    async def wait(self) -> object:
        """Return as soon as this replica leads."""


class Controller:
    """N workers on one queue, at work only while this replica leads."""

    def __init__(
        self,
        queue: WorkQueue[ServiceKey],
        reconcile: Callable[[ServiceKey], Awaitable[Result]],
        leadership: Leadership,
        metrics: Metrics,
        *,
        workers: int,
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._leadership = leadership
        self._metrics = metrics
        self._workers = workers

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for number in range(self._workers):
                workers.create_task(self._work(), name=f"worker-{number}")

    async def _work(self) -> None:
        while True:
            await self._leadership.wait()
            key = await self._queue.get()
            self._metrics.active_workers.inc()
            try:
                await self._reconcile_once(key)
            finally:
                self._metrics.active_workers.dec()
                self._queue.done(key)

    async def _reconcile_once(self, key: ServiceKey) -> None:
        started = time.monotonic()
        bound = log.bind(namespace=key.namespace, name=key.name)
        again: float | None = None
        try:
            async with asyncio.timeout(RECONCILE_TIMEOUT_SECONDS):
                result = await self._reconcile(key)
        except NotLeader:
            # Kept, but not at once: until the loss is acted on the next try would be refused without any wait, too.
            again = NOT_LEADER_SECONDS
            self._queue.add(key, after=again)
            outcome = "not_leader"
        except KubernetesError as error:
            again = self._queue.retry(key, at_least=error.retry_after or 0.0)
            bound.warning("reconcile failed", error=str(error), status=error.status, retry_seconds=round(again, 1))
            outcome = "error"
        except Exception:  # noqa: BLE001 - one AgentService's defect must not end the worker that serves the others
            again = self._queue.retry(key)
            bound.exception("reconcile failed unexpectedly", retry_seconds=round(again, 1))
            outcome = "error"
        else:
            self._queue.forget(key)
            outcome = "success"
            if result.requeue_after is not None:
                outcome = "requeue_after"
                # Never early: it would find the rest of the time still to wait, again and again.
                again = result.requeue_after * random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, hides nothing
                self._queue.add(key, Priority.RESYNC, after=again)
        bound.debug("reconciled", outcome=outcome, again_seconds=again)
        self._metrics.reconciled(outcome, time.monotonic() - started)
