"""Writes Events (events.k8s.io/v1), as few as tell the story: what repeats itself is one Event with a count.

Source of the rules: client-go's tools/events (a series is told once at its second time and then now and then, ends
after six minutes without another) and tools/record (25 per object at once, then one in five minutes).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from agentservice_operator.engine.kinds import AGENT_SERVICE, EVENT, ServiceKey
from agentservice_operator.engine.ports import FIELD_MANAGER, AlreadyExists, KubernetesError, NotLeader, Object
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.errors import NotFound
from agentservice_operator.metrics import Metrics
from agentservice_operator.status.events import Occurrence

log = structlog.get_logger(__name__)

CONTROLLER = "agentservice.dev/agentservice-operator"
ACTION = "Reconcile"
NOTE_LIMIT = 1024
INSTANCE_LIMIT = 128
QUEUE_LIMIT = 1000
"""Events that wait to be written; further ones are lost. As many as client-go keeps."""
SERIES_SECONDS = 360.0
"""What happens again within this time is the same series."""
REFRESH_SECONDS = 60.0
"""From its third time on a series is told anew at most this often."""
BURST = 25
"""Events about one AgentService that may be written at once; then one in REFILL_SECONDS."""
REFILL_SECONDS = 300.0

_Key = tuple[str, ...]


@dataclass(slots=True)
class _Series:
    """One Event object."""

    about: ServiceKey
    uid: str
    name: str
    occurrence: Occurrence
    first: str
    count: int
    last: str
    last_at: float
    told: int = 0
    """The count that the API server was told."""

    @property
    def key(self) -> _Key:
        return (self.uid, *self.occurrence.alike)


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class EventRecorder:
    """The engine's ``Recorder``: takes what happened at once, and writes it from one task, one after the other.

    Nobody waits for an Event and nothing fails with it: one that cannot be written is lost.

    Args:
        client: its gate lets only the leader write.
        metrics: counts all that happened, also what is not written.
        instance: names this replica.
    """

    def __init__(
        self,
        client: KubeClient,
        metrics: Metrics,
        *,
        instance: str,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._metrics = metrics
        self._instance = instance[:INSTANCE_LIMIT]
        self._clock = clock
        self._now = now
        self._series: dict[_Key, _Series] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._queue: asyncio.Queue[_Series] = asyncio.Queue(QUEUE_LIMIT)

    def record(self, about: ServiceKey, uid: str, occurrence: Occurrence) -> None:
        """Note what happened to the AgentService of that uid."""
        self._metrics.occurred(occurrence.type, occurrence.reason)
        moment, at = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"), self._clock()
        series = self._series.get((uid, *occurrence.alike))
        if series is not None and at - series.last_at < SERIES_SECONDS:
            series.count, series.last, series.last_at = series.count + 1, moment, at
            if series.count > 2:  # noqa: PLR2004 - the second time makes it a series; what comes then is told together
                return
        else:
            name = _new_name(about)
            series = _Series(about, uid, name, occurrence, first=moment, count=1, last=moment, last_at=at)
        if not self._queue.full() and self._may_write(uid, at):
            self._series[series.key] = series
            self._queue.put_nowait(series)

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_what_comes(), name="new events")
            tasks.create_task(self._refresh_now_and_then(), name="series of events")

    async def refresh(self) -> None:
        """Tell the counts that have grown since they were told, and forget what has ended."""
        for series in list(self._series.values()):
            if series.told:
                await self._write(series)
        at = self._clock()
        self._series = {key: series for key, series in self._series.items() if at - series.last_at < SERIES_SECONDS}
        self._buckets = {
            uid: bucket
            for uid, bucket in self._buckets.items()
            if bucket.tokens + (at - bucket.at) / REFILL_SECONDS < BURST
        }

    async def _write_what_comes(self) -> None:
        while True:
            await self._write(await self._queue.get())

    async def _refresh_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await self.refresh()

    def _may_write(self, uid: str, at: float) -> bool:
        bucket = self._buckets.setdefault(uid, _Bucket(BURST, at))
        bucket.tokens, bucket.at = min(BURST, bucket.tokens + (at - bucket.at) / REFILL_SECONDS), at
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    async def _write(self, series: _Series) -> None:
        count = series.count
        if count == series.told:
            return
        try:
            await self._send(series)
        except (KubernetesError, NotLeader) as error:
            self._series.pop(series.key, None)  # the next time is a first time
            namespace, name = series.about
            log.warning(
                "an Event is lost", namespace=namespace, name=name, reason=series.occurrence.reason, error=str(error)
            )
        else:
            series.told = count

    async def _send(self, series: _Series) -> None:
        if series.told:
            patch = {"series": _counted(series)}
            try:
                await self._client.patch_metadata(
                    EVENT, series.about.namespace, series.name, patch, manager=FIELD_MANAGER
                )
            except NotFound:  # Events live for an hour, and people delete them
                series.name = _new_name(series.about)
            else:
                return
        try:
            await self._client.create(EVENT, self._event(series), manager=FIELD_MANAGER)
        except AlreadyExists:  # the first answer was lost
            return

    def _event(self, series: _Series) -> Object:
        namespace, name = series.about
        occurrence = series.occurrence
        event: Object = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.kind,
            "metadata": {"namespace": namespace, "name": series.name},
            "eventTime": series.first,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance,
            "action": ACTION,
            "type": str(occurrence.type),
            "reason": str(occurrence.reason),
            "note": _cut(occurrence.note),
            "regarding": {
                "apiVersion": AGENT_SERVICE.api_version,
                "kind": AGENT_SERVICE.kind,
                "namespace": namespace,
                "name": name,
                "uid": series.uid,
            },
        }
        if occurrence.related is not None:
            api_version, kind, child = occurrence.related
            event["related"] = {"apiVersion": api_version, "kind": kind, "namespace": namespace, "name": child}
        if series.count > 1:
            event["series"] = _counted(series)
        return event


def _new_name(about: ServiceKey) -> str:
    return f"{about.name}.{secrets.token_hex(8)}"


def _counted(series: _Series) -> Object:
    return {"count": series.count, "lastObservedTime": series.last}


def _cut(note: str) -> str:
    """The API server counts bytes."""
    encoded = note.encode()
    return note if len(encoded) <= NOTE_LIMIT else encoded[: NOTE_LIMIT - 4].decode(errors="ignore") + " ..."
