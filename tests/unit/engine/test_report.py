"""When a status is written."""

from __future__ import annotations

from copy import deepcopy

import pytest
from agentservice_operator.engine.cache import Caches
from agentservice_operator.engine.ports import KubernetesError, Object
from agentservice_operator.engine.report import COUNTS_EVERY_SECONDS, Reporter

from tests.unit.engine.clock import Clock
from tests.unit.engine.fake_kubernetes import FakeKubernetes
from tests.unit.engine.objects import HELLO, NAMESPACE, Woken, agent_service

READY: Object = {
    "observedGeneration": 1,
    "replicas": 2,
    "readyReplicas": 2,
    "conditions": [{"type": "Ready", "status": "True", "reason": "Available", "message": "2 of 2 pods."}],
}


class Desk:
    """A reporter, the cluster that it writes to and the caches that it fills."""

    def __init__(self) -> None:
        self.kubernetes, self.clock, self.woken = FakeKubernetes(), Clock(), Woken()
        self.caches = Caches([], self.woken)
        self.reporter = Reporter(self.kubernetes, self.caches, self.clock)
        self.caches.services.put(agent_service())
        self.woken.clear()

    async def report(self, status: Object) -> float | None:
        """Report on the AgentService as it is known now."""
        service = self.caches.services.get(*HELLO)
        assert service is not None
        return await self.reporter.report(service, status)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def counts(ready: int) -> Object:
    """The same status with other counts, and the message that repeats them."""
    status = deepcopy(READY)
    status["readyReplicas"] = ready
    status["conditions"][0]["message"] = f"{ready} of 2 pods."
    return status


def reason(word: str) -> Object:
    status = deepcopy(READY)
    status["conditions"][0]["reason"] = word
    return status


async def test_the_first_status_is_written_at_once_for_this_very_object(desk: Desk) -> None:
    assert await desk.report(READY) is None

    (written,) = desk.kubernetes.written
    assert desk.kubernetes.verbs() == ["apply_status"]
    assert written["metadata"] == {"namespace": NAMESPACE, "name": "hello", "uid": "u-1"}
    assert written["status"] == READY
    assert "spec" not in written


async def test_an_equal_status_is_not_written(desk: Desk) -> None:
    await desk.report(READY)
    desk.kubernetes.verbs()

    assert await desk.report(deepcopy(READY)) is None

    assert desk.kubernetes.verbs() == []


async def test_the_write_is_known_at_once_and_its_echo_wakes_nobody(desk: Desk) -> None:
    await desk.report(READY)
    known = desk.caches.services.get(*HELLO)
    assert known is not None
    assert known.status == READY

    desk.caches.services.put(desk.kubernetes.objects["AgentService", *HELLO])

    assert desk.woken == []


async def test_a_new_reason_is_written_at_once(desk: Desk) -> None:
    await desk.report(READY)

    await desk.report(reason("ScaledToZero"))

    assert len(desk.kubernetes.written) == 2


async def test_counts_alone_wait_and_are_written_together(desk: Desk) -> None:
    await desk.report(READY)
    desk.clock.now += 1.0
    assert await desk.report(counts(1)) == COUNTS_EVERY_SECONDS - 1.0
    desk.clock.now += 1.0
    assert await desk.report(counts(0)) == COUNTS_EVERY_SECONDS - 2.0
    assert len(desk.kubernetes.written) == 1

    desk.clock.now += COUNTS_EVERY_SECONDS - 2.0
    assert await desk.report(counts(0)) is None
    assert desk.kubernetes.written[-1]["status"]["readyReplicas"] == 0


async def test_counts_that_came_back_meanwhile_are_not_written(desk: Desk) -> None:
    await desk.report(READY)
    await desk.report(counts(1))
    desk.clock.now += COUNTS_EVERY_SECONDS

    assert await desk.report(READY) is None

    assert len(desk.kubernetes.written) == 1


async def test_a_minute_of_changing_counts_costs_a_write_every_five_seconds(desk: Desk) -> None:
    await desk.report(READY)
    for second in range(60):
        desk.clock.now += 1.0
        await desk.report(counts(second % 2))

    assert len(desk.kubernetes.written) <= 1 + 60 / COUNTS_EVERY_SECONDS


async def test_a_write_that_failed_is_tried_again_at_once(desk: Desk) -> None:
    desk.kubernetes.refuses = KubernetesError("unavailable", status=503)
    with pytest.raises(KubernetesError):
        await desk.report(READY)
    desk.kubernetes.refuses = None

    await desk.report(READY)

    assert desk.kubernetes.written[-1]["status"] == READY


async def test_a_deleted_agent_service_costs_no_memory(desk: Desk) -> None:
    await desk.report(READY)

    desk.reporter.forget(HELLO)

    assert desk.reporter._written == {}


async def test_a_condition_that_somebody_else_added_is_no_reason_to_write(desk: Desk) -> None:
    await desk.report(READY)
    with_another = deepcopy(READY)
    with_another["conditions"].append({"type": "example.com/Audited", "status": "True", "reason": "Yes", "message": ""})
    desk.caches.services.put(agent_service(2000, status=with_another))
    desk.kubernetes.written.clear()

    await desk.report(READY)

    assert desk.kubernetes.written == []
