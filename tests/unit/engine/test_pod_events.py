"""When the Events of pods are asked for, and how seldom."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from agentservice_operator.engine.kinds import EVENT, ServiceKey
from agentservice_operator.engine.pod_events import EVERY_SECONDS, PATIENCE_SECONDS, START_SECONDS, PodEvents
from agentservice_operator.engine.ports import Forbidden
from agentservice_operator.status.observed import PodFacts

from tests.unit.engine.clock import Clock
from tests.unit.engine.fake_kubernetes import FakeKubernetes
from tests.unit.engine.objects import HELLO, NAMESPACE
from tests.unit.status.observations import pod

UNHEALTHY = "Readiness probe failed: HTTP probe failed with statuscode: 503"


@dataclass
class Desk:
    """Events of pods on a fake API server."""

    kubernetes: FakeKubernetes = field(default_factory=FakeKubernetes)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.events = PodEvents(self.kubernetes, self.clock)

    def happens(self, name: str = "hello-1", note: str = UNHEALTHY) -> None:
        """A kubelet tells it."""
        self.kubernetes.hold(
            EVENT,
            {
                "metadata": {"namespace": NAMESPACE, "name": f"{name}.1"},
                "reason": "Unhealthy",
                "note": note,
                "deprecatedLastTimestamp": "2026-11-21T12:00:00Z",
                "regarding": {"uid": f"uid-of-{name}"},
            },
        )

    async def hear(self, *pods: PodFacts, key: ServiceKey = HELLO) -> tuple[list[bool], float | None]:
        """Of each pod whether its Events said something, and when to look again."""
        heard = await self.events.hear(key, pods)
        return [each.hint is not None for each in heard.pods], heard.look_again_after

    async def asked_over(self, seconds: float, *pods: PodFacts) -> int:
        """How often it was asked, if every wish to look again is heeded."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            _, again = await self.hear(*pods)
            self.clock.now += again or seconds
        return self.kubernetes.verbs().count("find")


@pytest.fixture
def desk() -> Desk:
    return Desk()


WELL = [
    pod(ready=True),
    pod(deleting=True),
    pod(waiting_reason="ImagePullBackOff"),
    pod(unschedulable="0/1 nodes"),
    pod(exit_code=1, restarts=1),
]


@pytest.mark.parametrize("known", WELL)
async def test_a_pod_that_says_itself_how_it_is_is_not_asked_about(desk: Desk, known: PodFacts) -> None:
    desk.happens()

    assert await desk.hear(known) == ([False], None)
    assert desk.kubernetes.calls == []


async def test_a_pod_gets_time_to_become_ready(desk: Desk) -> None:
    desk.happens()

    assert await desk.hear(pod()) == ([False], PATIENCE_SECONDS)
    assert desk.kubernetes.calls == []
    desk.clock.now += PATIENCE_SECONDS

    assert (await desk.hear(pod()))[0] == [True]
    assert desk.kubernetes.verbs() == ["find"]


async def test_what_was_heard_is_remembered_until_the_next_look(desk: Desk) -> None:
    desk.happens()
    await desk.hear(pod())
    desk.clock.now += PATIENCE_SECONDS
    await desk.hear(pod())
    desk.kubernetes.lose(EVENT, NAMESPACE, "hello-1.1")

    assert (await desk.hear(pod()))[0] == [True]
    desk.clock.now += EVERY_SECONDS[0]

    assert (await desk.hear(pod()))[0] == [False]


async def test_a_trouble_that_lasts_is_looked_at_less_and_less(desk: Desk) -> None:
    assert await desk.asked_over(60, pod()) <= 8
    assert await desk.asked_over(3600, pod()) <= 70


async def test_of_many_pods_only_some_are_asked_about(desk: Desk) -> None:
    pods = [pod(f"hello-{number}") for number in range(50)]
    await desk.hear(*pods)
    desk.clock.now += PATIENCE_SECONDS

    await desk.hear(*pods)

    assert desk.kubernetes.verbs() == ["find"] * 3


async def test_many_agent_services_in_doubt_share_what_the_api_server_can_bear(desk: Desk) -> None:
    """500 that start at once must not make it go through all Events 500 times."""
    keys = [ServiceKey(NAMESPACE, f"agent-{number}") for number in range(500)]
    for _ in range(20):
        for key in keys:
            await desk.hear(pod(), key=key)
        desk.clock.now += 1.0

    assert desk.kubernetes.verbs() == []
    desk.clock.now += 90.0
    for key in keys:
        await desk.hear(pod(), key=key)
    assert len(desk.kubernetes.verbs()) == 500


async def test_a_slow_start_is_no_trouble_and_one_without_end_is(desk: Desk) -> None:
    desk.happens(note=UNHEALTHY.replace("Readiness", "Startup"))
    await desk.hear(pod())
    desk.clock.now += PATIENCE_SECONDS
    assert (await desk.hear(pod()))[0] == [False]
    desk.clock.now += START_SECONDS

    assert (await desk.hear(pod()))[0] == [True]


async def test_without_the_right_to_read_events_nothing_is_said_and_nothing_fails(desk: Desk) -> None:
    desk.happens()
    await desk.hear(pod())
    desk.clock.now += PATIENCE_SECONDS
    desk.kubernetes.refuses = Forbidden('cannot list resource "events"')

    assert (await desk.hear(pod()))[0] == [False]


async def test_pods_that_are_well_again_and_agent_services_that_are_gone_cost_no_memory(desk: Desk) -> None:
    await desk.hear(pod())
    await desk.hear(pod(ready=True))
    assert desk.events._doubts == {}
    await desk.hear(pod())

    desk.events.forget(HELLO)

    assert desk.events._doubts == {}
