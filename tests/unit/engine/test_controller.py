"""What the workers make of the outcomes of a reconcile."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import structlog
from agentservice_operator.engine.controller import Controller
from agentservice_operator.engine.kinds import ServiceKey
from agentservice_operator.engine.ports import KubernetesError, NotLeader
from agentservice_operator.engine.queue import Priority, WorkQueue
from agentservice_operator.engine.reconcile import Result
from agentservice_operator.metrics import Metrics

from tests.unit.engine.clock import Clock
from tests.unit.engine.objects import HELLO, OTHER
from tests.unit.kube.eventually import eventually


@dataclass
class Plant:
    """A controller at work on a reconcile that the test writes."""

    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)
    leads: asyncio.Event = field(default_factory=asyncio.Event)
    reconciled: list[ServiceKey] = field(default_factory=list)
    outcomes: defaultdict[ServiceKey, list[Exception | Result]] = field(default_factory=lambda: defaultdict(list))
    """What the next reconciles of a key do; afterwards they succeed."""

    def __post_init__(self) -> None:
        self.queue: WorkQueue[ServiceKey] = WorkQueue(self.metrics.queue, clock=self.clock, jitter=lambda: 0.0)

    async def reconcile(self, key: ServiceKey) -> Result:
        """The next outcome, without giving way to other tasks: a reconcile that finds all as it should be is such."""
        self.reconciled.append(key)
        outcome = self.outcomes[key].pop(0) if self.outcomes[key] else Result()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    @contextlib.asynccontextmanager
    async def at_work(self, workers: int = 2) -> AsyncIterator[asyncio.Task[None]]:
        """Run until the end of the block."""
        controller = Controller(self.queue, self.reconcile, self.leads, self.metrics, workers=workers)
        task = asyncio.create_task(controller.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def ended(self, result: str) -> float:
        """How many reconciles ended so."""
        labels = {"controller": "agentservice", "result": result}
        return self.metrics.registry.get_sample_value("controller_runtime_reconcile_total", labels) or 0.0

    def failed(self, times: int) -> bool:
        """Whether so many reconciles failed."""
        return self.ended("error") == times

    def next_due_in(self) -> float | None:
        """Seconds until a key is worked on again."""
        due = self.queue._schedule.next_due()
        return None if due is None else due - self.clock.now

    async def until(self, predicate: Callable[[], object]) -> None:
        """Wait for what the workers should do."""
        await eventually(predicate, lambda: f"reconciled {self.reconciled}, next in {self.next_due_in()} s")


@pytest.fixture
async def plant() -> Plant:
    plant = Plant()
    plant.leads.set()
    return plant


async def test_nothing_is_reconciled_before_this_replica_leads(plant: Plant) -> None:
    plant.leads.clear()
    plant.queue.add(HELLO)

    async with plant.at_work():
        for _ in range(5):
            await asyncio.sleep(0)
        assert plant.reconciled == []

        plant.leads.set()
        await plant.until(lambda: plant.reconciled == [HELLO])


async def test_an_error_is_retried_with_backoff_and_a_success_ends_it(plant: Plant) -> None:
    plant.outcomes[HELLO] = [KubernetesError("no"), KubernetesError("no"), KubernetesError("no")]
    plant.queue.add(HELLO)
    waits = []

    async with plant.at_work():
        for failure in range(3):
            await plant.until(partial(plant.failed, failure + 1))
            waits.append(plant.next_due_in())
            plant.clock.now += waits[-1] or 0.0
            plant.queue.add(OTHER)  # the fake clock wakes nobody
        await plant.until(lambda: plant.reconciled.count(HELLO) == 4)

    assert waits == [1.0, 2.0, 4.0]
    assert plant.next_due_in() is None
    assert plant.queue._failures == {}


async def test_the_wait_that_the_api_server_asks_for_is_kept(plant: Plant) -> None:
    plant.outcomes[HELLO] = [KubernetesError("slow down", status=429, retry_after=17.0)]
    plant.queue.add(HELLO)

    async with plant.at_work():
        await plant.until(lambda: plant.ended("error") == 1)

    assert plant.next_due_in() == 17.0


async def test_a_defect_in_one_reconcile_ends_no_worker(plant: Plant) -> None:
    plant.outcomes[HELLO] = [RuntimeError("defect"), RuntimeError("defect")]
    plant.queue.add(HELLO)

    async with plant.at_work(workers=1) as task:
        await plant.until(lambda: plant.ended("error") == 1)
        plant.queue.add(OTHER)
        await plant.until(lambda: OTHER in plant.reconciled)
        assert not task.done()

    assert plant.next_due_in() == 1.0


async def test_one_that_fails_in_a_loop_among_200_costs_the_others_less_than_a_tenth(plant: Plant) -> None:
    others = [ServiceKey("team", f"agent-{number}") for number in range(200)]
    plant.outcomes[HELLO] = [KubernetesError("no")] * 1000
    plant.queue.add(HELLO)
    for key in others:
        plant.queue.add(key, Priority.STARTUP)

    async with plant.at_work(workers=4):
        await plant.until(lambda: set(others) <= set(plant.reconciled))

    assert len(plant.reconciled) <= 1.1 * len(others)


async def test_a_key_that_could_not_be_written_for_want_of_the_lease_is_kept(plant: Plant) -> None:
    plant.outcomes[HELLO] = [NotLeader("the lease is another's")]
    plant.queue.add(HELLO)

    async with plant.at_work():
        await plant.until(lambda: plant.ended("not_leader") == 1)

    assert plant.next_due_in() is not None


async def test_a_doubtful_lease_does_not_make_the_workers_turn_without_end(plant: Plant) -> None:
    """Until the loss is acted on every write is refused at once: a key that came back at once would hold the loop."""
    plant.outcomes[HELLO] = [NotLeader("the lease is not sure")] * 1000
    plant.queue.add(HELLO)

    async with plant.at_work(workers=1):
        await plant.until(lambda: plant.ended("not_leader") >= 1)

    assert len(plant.reconciled) == 1


async def test_a_wish_to_look_again_is_kept_and_never_comes_early(plant: Plant) -> None:
    """Early it would find a few per cent of the time still missing, and ask for them again and again."""
    plant.outcomes[HELLO] = [Result(requeue_after=100.0)]
    plant.queue.add(HELLO)

    async with plant.at_work():
        await plant.until(lambda: plant.ended("requeue_after") == 1)

    due = plant.next_due_in()
    assert due is not None
    assert 100.0 <= due <= 110.0


async def test_looking_again_is_spread(plant: Plant) -> None:
    keys = [ServiceKey("team-a", f"service-{number}") for number in range(50)]
    for key in keys:
        plant.outcomes[key] = [Result(requeue_after=100.0)]
        plant.queue.add(key)

    async with plant.at_work():
        await plant.until(lambda: plant.ended("requeue_after") == len(keys))

    assert len({entry.due for entry in plant.queue._schedule._waiting.values()}) > len(keys) // 2


async def test_without_such_a_wish_only_a_change_brings_a_key_back(plant: Plant) -> None:
    plant.queue.add(HELLO)

    async with plant.at_work():
        await plant.until(lambda: plant.ended("success") == 1)

    assert plant.next_due_in() is None


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Result(), "success"),
        (Result(requeue_after=100.0), "requeue_after"),
        (KubernetesError("no", status=429, retry_after=17.0), "error"),
        (RuntimeError("defect"), "error"),
        (NotLeader("the lease is another's"), "not_leader"),
    ],
)
async def test_each_reconcile_says_for_debugging_when_the_next_one_is_planned(
    plant: Plant, outcome: Exception | Result, said: str
) -> None:
    plant.outcomes[HELLO] = [outcome]
    plant.queue.add(HELLO)

    with structlog.testing.capture_logs() as lines:
        async with plant.at_work(workers=1):
            await plant.until(lambda: plant.ended(said) == 1)

    [line] = [each for each in lines if each["event"] == "reconciled"]
    assert (line["log_level"], line["namespace"], line["name"], line["outcome"]) == ("debug", *HELLO, said)
    due = plant.next_due_in()
    assert line["again_seconds"] == (due if due is None else pytest.approx(due))


async def test_a_cancelled_worker_gives_its_key_back(plant: Plant) -> None:
    started = asyncio.Event()

    async def hang(_: ServiceKey) -> Result:
        started.set()
        await asyncio.Event().wait()
        return Result()

    plant.queue.add(HELLO)
    task = asyncio.create_task(Controller(plant.queue, hang, plant.leads, plant.metrics, workers=1).run())
    await started.wait()

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    plant.queue.add(HELLO)
    async with asyncio.timeout(5.0):
        assert await plant.queue.get() == HELLO
    labels = {"controller": "agentservice"}
    assert plant.metrics.registry.get_sample_value("controller_runtime_active_workers", labels) == 0.0


async def test_a_reconcile_that_hangs_is_given_up_and_tried_again(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agentservice_operator.engine.controller.RECONCILE_TIMEOUT_SECONDS", 0.01)

    async def hang(_: ServiceKey) -> Result:
        await asyncio.Event().wait()
        return Result()

    plant.queue.add(HELLO)
    task = asyncio.create_task(Controller(plant.queue, hang, plant.leads, plant.metrics, workers=1).run())

    await plant.until(lambda: plant.ended("error") == 1)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert plant.next_due_in() == 1.0
