"""How many Events are written, whatever happens how often, and that nothing fails with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from agentservice_operator.engine.kinds import ServiceKey
from agentservice_operator.engine.ports import NotLeader
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.events import BURST, QUEUE_LIMIT, REFILL_SECONDS, SERIES_SECONDS, EventRecorder
from agentservice_operator.metrics import Metrics
from agentservice_operator.status.events import EventType, Occurrence, Related, child_repaired
from kubernetes.aio.client import ApiClient

from tests.unit.engine.clock import Clock
from tests.unit.kube.eventually import eventually
from tests.unit.kube.scripted_server import ScriptedServer, answers, refuses

HELLO = ServiceKey("team-a", "hello")
REPAIRED = child_repaired(Related("v1", "Service", "hello"))
OK = answers({"metadata": {"name": "e"}})


class Desk:
    """A recorder on a scripted API server."""

    def __init__(self, client: KubeClient, server: ScriptedServer) -> None:
        self.server, self.clock, self.metrics = server, Clock(), Metrics()
        server.script = [OK]
        moment = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
        self.recorder = EventRecorder(client, self.metrics, instance="one", clock=self.clock, now=lambda: moment)

    def happens(self, occurrence: Occurrence = REPAIRED, *, times: int = 1, uid: str = "u-1") -> None:
        """The same thing so many times."""
        for _ in range(times):
            self.recorder.record(HELLO, uid, occurrence)

    async def written(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """Method and body of the writes, once there are so many, and no more."""
        await eventually(lambda: len(self.server.asked) >= count, lambda: self.server.asked)
        await asyncio.sleep(0)
        assert len(self.server.asked) == count
        return [(asked.method, orjson.loads(asked.body)) for asked in self.server.asked]


@asynccontextmanager
async def running(desk: Desk) -> AsyncIterator[Desk]:
    work = asyncio.create_task(desk.recorder.run())
    try:
        yield desk
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


@pytest.fixture
async def desk(client: KubeClient, server: ScriptedServer) -> AsyncIterator[Desk]:
    async with running(Desk(client, server)) as desk:
        yield desk


async def test_an_event_says_who_what_and_about_whom(desk: Desk) -> None:
    desk.happens()

    ((method, event),) = await desk.written(1)

    assert method == "POST"
    assert event["eventTime"] == "2026-11-21T12:00:00.123456Z"
    assert event["regarding"] == {
        "apiVersion": "agentservice.dev/v1alpha1",
        "kind": "AgentService",
        "namespace": "team-a",
        "name": "hello",
        "uid": "u-1",
    }
    assert event["related"]["kind"] == "Service"
    assert (event["type"], event["reason"]) == ("Warning", "ChildRepaired")
    assert "series" not in event


async def test_what_repeats_itself_is_one_event_with_a_count(desk: Desk) -> None:
    desk.happens()
    await desk.written(1)
    desk.happens()
    await desk.written(2)
    desk.happens(times=20)
    await desk.recorder.refresh()
    await desk.recorder.refresh()

    (_, made), (_, second), (_, told) = await desk.written(3)

    assert desk.server.asked[2].path.endswith(made["metadata"]["name"])
    assert second == {"series": {"count": 2, "lastObservedTime": "2026-11-21T12:00:00.123456Z"}}
    assert told["series"]["count"] == 22


async def test_what_happened_long_ago_is_not_the_same_series(desk: Desk) -> None:
    desk.happens()
    await desk.written(1)
    desk.clock.now += SERIES_SECONDS
    desk.happens()

    assert [method for method, _ in await desk.written(2)] == ["POST", "POST"]


async def test_an_event_that_is_gone_is_made_again_with_its_count(desk: Desk) -> None:
    desk.happens()
    await desk.written(1)
    desk.server.script = [refuses(404, "NotFound"), OK]
    desk.happens()

    (_, first), _, (method, again) = await desk.written(3)

    assert method == "POST"
    assert again["series"]["count"] == 2
    assert again["metadata"]["name"] != first["metadata"]["name"]


async def test_one_agent_service_cannot_flood_the_cluster_and_all_of_it_is_counted(desk: Desk) -> None:
    for number in range(3 * BURST):
        desk.happens(Occurrence(EventType.NORMAL, "NameConflict", f"note {number}"))
    await desk.written(BURST)
    desk.happens(Occurrence(EventType.NORMAL, "NameConflict", "of another"), uid="u-2")
    await desk.written(BURST + 1)
    desk.clock.now += REFILL_SECONDS
    desk.happens(Occurrence(EventType.NORMAL, "NameConflict", "later"), times=1)
    desk.happens(Occurrence(EventType.NORMAL, "NameConflict", "and more"), times=1)

    await desk.written(BURST + 2)
    labels = {"type": "Normal", "reason": "NameConflict"}
    assert desk.metrics.registry.get_sample_value("agentservice_operator_events_total", labels) == 3 * BURST + 3


async def test_a_note_is_cut_to_what_the_api_server_takes(desk: Desk) -> None:
    desk.happens(Occurrence(EventType.WARNING, "InvalidSpec", "ü" * 2000))

    ((_, event),) = await desk.written(1)

    assert 1000 < len(event["note"].encode()) <= 1024
    assert event["note"].endswith("ü ...")


@pytest.mark.parametrize("code", [403, 404, 422])
async def test_an_event_that_is_refused_is_lost_and_the_next_one_is_written(desk: Desk, code: int) -> None:
    desk.server.script = [refuses(code), OK]
    desk.happens()
    desk.happens(Occurrence(EventType.NORMAL, "Available", "Serves."))
    await desk.written(2)  # one is written after the other: the first one's refusal has been seen
    desk.happens()

    written = await desk.written(3)
    assert [method for method, _ in written] == ["POST", "POST", "POST"]
    assert "series" not in written[-1][1], "the first one is lost"


async def test_who_does_not_lead_writes_no_event(api_client: ApiClient, server: ScriptedServer) -> None:
    def refuse() -> None:
        raise NotLeader("the lease is not ours")

    async with running(Desk(KubeClient(api_client, before_write=refuse), server)) as desk:
        desk.happens()
        await eventually(lambda: not desk.recorder._series, lambda: desk.recorder._series)

    assert server.asked == []


async def test_what_nobody_can_write_costs_no_memory_without_end(client: KubeClient, server: ScriptedServer) -> None:
    desk = Desk(client, server)  # nothing writes
    for number in range(2 * QUEUE_LIMIT):
        desk.happens(uid=f"u-{number}")

    assert len(desk.recorder._series) == QUEUE_LIMIT
    desk.clock.now += REFILL_SECONDS + SERIES_SECONDS
    await desk.recorder.refresh()
    assert (desk.recorder._series, desk.recorder._buckets) == ({}, {})
