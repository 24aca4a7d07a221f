"""The asyncio face of the work queue: workers, backoff, metrics."""

from __future__ import annotations

import asyncio
from collections import Counter

from agentservice_operator.engine.queue import BASE_DELAY_SECONDS, MAX_DELAY_SECONDS, Priority, WorkQueue
from agentservice_operator.metrics import QueueMetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from tests.unit.engine.clock import Clock

DEADLINE_SECONDS = 10.0


def queue_with(clock: Clock, jitter: float = 0.0) -> tuple[WorkQueue[str], CollectorRegistry]:
    registry = CollectorRegistry()
    return WorkQueue(QueueMetrics(registry), clock=clock, jitter=lambda: jitter), registry


def sample(registry: CollectorRegistry, name: str) -> float | None:
    return registry.get_sample_value(name, {"name": "agentservice"})


@settings(deadline=None)
@given(jitter=st.floats(min_value=0.0, max_value=1.0), failures=st.integers(min_value=1, max_value=2000))
def test_each_failure_doubles_the_wait_up_to_five_minutes_and_a_fifth(jitter: float, failures: int) -> None:
    queue, _ = queue_with(Clock(), jitter)

    delays = [queue.retry("key") for _ in range(failures)]

    for failure, delay in enumerate(delays):
        plain = min(MAX_DELAY_SECONDS, BASE_DELAY_SECONDS * 2 ** min(failure, 20))
        assert plain <= delay <= plain * 1.2


def test_the_waits_are_1_2_4_seconds_and_so_on() -> None:
    queue, _ = queue_with(Clock())

    assert [queue.retry("key") for _ in range(10)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]


def test_a_success_makes_the_next_wait_short_again() -> None:
    queue, _ = queue_with(Clock())
    for _ in range(5):
        queue.retry("key")

    queue.forget("key")

    assert queue.retry("key") == BASE_DELAY_SECONDS


def test_a_key_that_succeeded_costs_no_memory() -> None:
    queue, _ = queue_with(Clock())
    for number in range(100):
        queue.retry(f"key-{number}")
        queue.forget(f"key-{number}")

    assert queue._failures == {}


def test_the_wait_that_the_api_server_asks_for_is_kept_and_spread() -> None:
    """Otherwise all keys that met an overloaded API server would come back in the same moment."""
    queue, _ = queue_with(Clock(), jitter=0.5)

    assert queue.retry("key", at_least=30.0) == 30.0 * 1.1


async def test_a_failing_key_does_not_delay_others() -> None:
    clock = Clock()
    queue, _ = queue_with(clock)
    queue.add("failing")
    assert await queue.get() == "failing"
    queue.retry("failing")
    queue.done("failing")

    queue.add("other")

    assert await queue.get() == "other"
    clock.now += BASE_DELAY_SECONDS
    assert await queue.get() == "failing"


async def test_a_change_during_a_backoff_is_worked_on_at_once() -> None:
    queue, _ = queue_with(Clock())
    for _ in range(9):
        queue.retry("key")

    queue.add("key")

    assert await queue.get() == "key"


async def test_a_change_during_the_work_is_worked_on_after_it() -> None:
    queue, _ = queue_with(Clock())
    queue.add("key")
    await queue.get()

    queue.add("key")
    waiting = asyncio.create_task(queue.get())
    await turns()
    assert not waiting.done(), "the key was given to a second worker"
    queue.done("key")

    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await waiting == "key"


async def test_an_add_wakes_a_waiting_worker() -> None:
    queue, _ = queue_with(Clock())
    waiting = asyncio.create_task(queue.get())
    await turns()

    queue.add("key")

    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await waiting == "key"


async def test_an_earlier_wish_shortens_the_wait_of_workers() -> None:
    queue: WorkQueue[str] = WorkQueue(QueueMetrics(CollectorRegistry()))
    queue.add("far", after=3600.0)
    waiting = asyncio.create_task(queue.get())
    await turns()

    queue.add("near", after=0.02)

    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await waiting == "near"


async def test_two_keys_due_at_the_same_time_reach_two_waiting_workers() -> None:
    queue: WorkQueue[str] = WorkQueue(QueueMetrics(CollectorRegistry()))
    workers = [asyncio.create_task(queue.get()) for _ in range(2)]
    await turns()

    for key in ("one", "two"):
        queue.add(key, after=0.05)

    async with asyncio.timeout(DEADLINE_SECONDS):
        assert set(await asyncio.gather(*workers)) == {"one", "two"}


async def test_a_worker_that_is_cancelled_while_it_waits_takes_no_key_with_it() -> None:
    queue, _ = queue_with(Clock())
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await turns()
    queue.add("key")
    first.cancel()

    async with asyncio.timeout(DEADLINE_SECONDS):
        assert await second == "key"


async def test_many_workers_share_the_keys_and_never_one_key() -> None:
    queue: WorkQueue[int] = WorkQueue(QueueMetrics(CollectorRegistry()))
    now_working: Counter[int] = Counter()
    worked: Counter[int] = Counter()
    rounds, keys = 5, 40
    all_done = asyncio.Event()

    async def work() -> None:
        while True:
            key = await queue.get()
            now_working[key] += 1
            assert now_working[key] == 1, f"{key} is worked on twice"
            await asyncio.sleep(0)
            now_working[key] -= 1
            worked[key] += 1
            if worked[key] < rounds:
                queue.add(key, Priority.RESYNC, after=0.001)
            queue.done(key)
            if worked.total() == rounds * keys:
                all_done.set()

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for key in range(keys):
        queue.add(key, Priority.STARTUP)
    ended = asyncio.create_task(all_done.wait())
    await asyncio.wait([ended, *workers], timeout=DEADLINE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for worker in workers:
        worker.cancel()
    ends = await asyncio.gather(*workers, return_exceptions=True)

    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
    assert worked == dict.fromkeys(range(keys), rounds)


async def test_waiting_workers_sleep() -> None:
    """A worker looks when it starts to wait, when something is asked for, and when something is due: no more often."""
    looks = 0
    clock = Clock()

    def counting() -> float:
        nonlocal looks
        looks += 1
        return clock()

    queue: WorkQueue[str] = WorkQueue(QueueMetrics(CollectorRegistry()), clock=counting)
    workers = [asyncio.create_task(queue.get()) for _ in range(8)]
    for number in range(50):
        queue.add(f"resync-{number}", Priority.RESYNC, after=100.0)
    await turns()

    looks = 0
    await turns(200)
    assert looks == 0, "workers turn while nothing is due"
    for worker in workers:
        worker.cancel()


async def test_the_end_of_a_work_wakes_nobody_who_has_nothing_to_do() -> None:
    looks = 0
    clock = Clock()

    def counting() -> float:
        nonlocal looks
        looks += 1
        return clock()

    queue: WorkQueue[str] = WorkQueue(QueueMetrics(CollectorRegistry()), clock=counting)
    queue.add("resync", Priority.RESYNC, after=100.0)
    queue.add("key")
    await queue.get()
    workers = [asyncio.create_task(queue.get()) for _ in range(8)]
    await turns()

    looks = 0
    queue.done("key")
    await turns()

    assert looks < len(workers), "every idle worker woke"
    for worker in workers:
        worker.cancel()


async def test_depth_counts_keys_that_wait_for_a_worker_not_for_their_time() -> None:
    """As in client-go: an alert on a deep queue must not ring because every AgentService has its next resync."""
    clock = Clock()
    queue, registry = queue_with(clock)
    queue.add("resync", Priority.RESYNC, after=100.0)
    queue.add("one")
    queue.add("two")

    assert sample(registry, "workqueue_depth") == 2
    await queue.get()
    assert sample(registry, "workqueue_depth") == 1


async def test_the_time_in_the_queue_and_at_work_are_measured() -> None:
    clock = Clock()
    queue, registry = queue_with(clock)
    queue.add("key")
    clock.now += 3.0
    await queue.get()
    clock.now += 5.0
    queue.done("key")

    assert sample(registry, "workqueue_queue_duration_seconds_sum") == 3.0
    assert sample(registry, "workqueue_work_duration_seconds_sum") == 5.0
    assert sample(registry, "workqueue_adds_total") == 1.0


async def test_a_work_that_does_not_end_shows() -> None:
    clock = Clock()
    queue, registry = queue_with(clock)
    for key in ("hangs", "follows"):
        queue.add(key)
        await queue.get()
        clock.now += 30.0

    assert sample(registry, "workqueue_unfinished_work_seconds") == 90.0
    assert sample(registry, "workqueue_longest_running_processor_seconds") == 60.0
    queue.done("hangs")
    queue.done("follows")
    assert sample(registry, "workqueue_longest_running_processor_seconds") == 0.0


def test_a_retry_is_counted() -> None:
    queue, registry = queue_with(Clock())

    queue.retry("key")

    assert sample(registry, "workqueue_retries_total") == 1.0


async def turns(count: int = 5) -> None:
    """Let the loop turn; nothing in these tests needs more than one turn to happen."""
    for _ in range(count):
        await asyncio.sleep(0)
