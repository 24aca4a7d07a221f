"""Who may run a task, who may write to it, and what becomes of what was left behind: on each engine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from agent_runtime.state.database import Database
from agent_runtime.state.schema import tasks as table
from agent_runtime.state.task import (
    Task,
    TaskStatus,
)
from agent_runtime.state.task_leases import MAX_LOST_LEASES, LeaseLostError, TaskLeases
from agent_runtime.state.tasks import SqlTasks
from tests.runtime.stored_tasks import ASKED, CALLS, again, claim, create, set_row, statuses

# The queue


async def test_the_highest_priority_goes_first_and_of_several_the_oldest(tasks: SqlTasks, leases: TaskLeases) -> None:
    created = [await create(tasks, priority=priority) for priority in (5, 9, 5, 1, 9)]

    order = [(await claim(leases)).task_id for _ in created]

    assert order == [created[index].id for index in (1, 4, 0, 2, 3)]
    assert await leases.claim() is None


async def test_a_task_knows_its_position_in_the_queue_of_all_callers(tasks: SqlTasks, leases: TaskLeases) -> None:
    first, urgent, foreign = await create(tasks), await create(tasks, priority=10), await create(tasks, "other")

    positions = [(await again(tasks, task, principal)).position for task, principal in
                 ((first, "demo"), (urgent, "demo"), (foreign, "other"))]  # fmt: skip
    await claim(leases)

    assert positions == [2, 1, 3]
    assert (await again(tasks, urgent)).position is None
    assert (await again(tasks, first)).position == 1


async def test_tasks_of_one_conversation_run_one_at_a_time_and_keep_nobody_else_from_it(
    tasks: SqlTasks, leases: TaskLeases
) -> None:
    asked = replace(ASKED, conversation_id="c" * 32)
    first, second = [await create(tasks, asked=asked) for _ in range(2)]
    other = await create(tasks, "other", asked=asked)
    forgotten = await create(tasks)

    claimed = [await claim(leases) for _ in range(3)]
    assert [lease.task_id for lease in claimed] == [first.id, other.id, forgotten.id]
    assert await leases.claim() is None

    await leases.complete(claimed[0], {})
    assert (await claim(leases)).task_id == second.id


async def test_a_task_that_cannot_be_read_fails_and_keeps_nobody_from_running(
    database: Database, tasks: SqlTasks, leases: TaskLeases
) -> None:
    broken, sound = await create(tasks), await create(tasks)
    unreadable = update(table).where(table.c.id == broken.id).values(input='{"of": "another release"}')
    await database.run(lambda connection: connection.execute(unreadable))

    assert (await claim(leases)).task_id == sound.id

    of_broken = select(table.c.status, table.c.error).where(table.c.id == broken.id)
    status, error = await database.run(lambda connection: connection.execute(of_broken).one())
    assert (status, "internal_error" in error) == ("failed", True)


async def test_a_task_is_claimed_once_however_many_try(tasks: SqlTasks, leases: TaskLeases) -> None:
    created = {(await create(tasks)).id for _ in range(10)}

    claimed = await asyncio.gather(*(leases.claim() for _ in range(30)))

    held = [lease.task_id for lease in claimed if lease is not None]
    assert len(held) == 10
    assert set(held) == created


async def test_the_estimate_is_the_mean_of_what_was_completed(
    database: Database, tasks: SqlTasks, leases: TaskLeases
) -> None:
    for milliseconds in (2000, 4000):
        task = await create(tasks)
        await leases.complete(await claim(leases), {})
        await set_row(database, task, started_at=1_000, completed_at=1_000 + milliseconds)

    assert (await create(tasks)).mean_ms == 3000


# Times


async def test_a_task_has_the_times_at_which_things_happened(tasks: SqlTasks, leases: TaskLeases) -> None:
    task = await create(tasks)
    assert (task.started_at, task.completed_at) == (None, None)
    lease = await claim(leases)
    running = await again(tasks, task)
    await leases.complete(lease, {"message": "It."})

    done = await again(tasks, task)

    assert running.started_at is not None
    assert done.completed_at is not None
    assert task.created_at <= running.started_at <= done.completed_at
    assert running.completed_at is None
    assert (done.status, done.result) == (TaskStatus.COMPLETED, {"message": "It."})
    assert await statuses(tasks, task) == ["pending", "running", "completed"]


# Leases


async def test_a_task_whose_lease_ran_out_goes_on_with_what_was_saved(
    database: Database, tasks: SqlTasks, leases: TaskLeases
) -> None:
    task = await create(tasks)
    await leases.save(await claim(leases), '{"step": 1}')
    await set_row(database, task, lease_expires_at=1)

    second = await claim(leases)

    assert (second.task_id, second.progress) == (task.id, '{"step": 1}')
    assert await statuses(tasks, task) == ["pending", "running", "pending", "running"]


async def test_a_lease_that_is_renewed_is_not_claimed_by_another(
    database: Database, tasks: SqlTasks, leases: TaskLeases
) -> None:
    task = await create(tasks)
    lease = await claim(leases)
    await set_row(database, task, lease_expires_at=1)

    assert await leases.renew([lease]) == set()

    assert await leases.claim() is None


@pytest.mark.parametrize("how", ["expired", "canceled", "handed back", "deleted"])
async def test_whose_lease_has_ended_can_write_nothing(
    database: Database, tasks: SqlTasks, leases: TaskLeases, how: str
) -> None:
    task = await create(tasks)
    stale = await claim(leases)
    await leases.save(stale, '{"step": 1}')
    match how:
        case "expired":
            await set_row(database, task, lease_expires_at=1)
            await claim(leases)
        case "canceled":
            await tasks.cancel("demo", task.id)
        case "handed back":
            await leases.hand_back(stale)
        case "deleted":
            await tasks.cancel("demo", task.id)
            await tasks.delete("demo", task.id)
    before = await tasks.get("demo", task.id), await statuses(tasks, task)

    writes: list[Coroutine[Any, Any, object]] = [
        leases.save(stale, "{}"),
        leases.tell(stale, "tool_call", {}),
        leases.complete(stale, {}),
        leases.fail(stale, {}),
        leases.await_approval(stale, "{}", CALLS),
        leases.hand_back(stale),
    ]
    for write in writes:
        with pytest.raises(LeaseLostError):
            await write

    assert await leases.renew([stale]) == {stale}
    after = await tasks.get("demo", task.id), await statuses(tasks, task)
    assert _without_age(after) == _without_age(before)


def _without_age(state: tuple[Task | None, list[str]]) -> tuple[object, ...]:
    task, told = state
    return (None, told) if task is None else (task.status, task.progress, task.result, task.completed_at, told)


async def test_what_belongs_to_the_end_of_a_task_is_not_done_without_the_lease(
    tasks: SqlTasks, leases: TaskLeases
) -> None:
    task = await create(tasks)
    lease = await claim(leases)
    await tasks.cancel("demo", task.id)
    done: list[bool] = []

    with pytest.raises(LeaseLostError):
        await leases.complete(lease, {}, also=[lambda _: done.append(True)])

    assert done == []


async def test_a_task_that_ends_its_processes_fails(database: Database, tasks: SqlTasks, leases: TaskLeases) -> None:
    task = await create(tasks)
    for _ in range(MAX_LOST_LEASES):
        await claim(leases)
        await set_row(database, task, lease_expires_at=1)

    assert await leases.claim() is None

    failed = await again(tasks, task)
    assert failed.status is TaskStatus.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "task_abandoned"


async def test_a_task_that_gets_on_may_lose_any_number_of_processes(
    database: Database, tasks: SqlTasks, leases: TaskLeases
) -> None:
    task = await create(tasks)
    for step in range(MAX_LOST_LEASES + 2):
        await leases.save(await claim(leases), f"{step}")
        await set_row(database, task, lease_expires_at=1)

    assert (await claim(leases)).progress == f"{MAX_LOST_LEASES + 1}"


async def test_a_task_that_was_handed_back_is_none_that_ends_its_processes(tasks: SqlTasks, leases: TaskLeases) -> None:
    await create(tasks)
    for _ in range(MAX_LOST_LEASES + 2):
        await leases.hand_back(await claim(leases))

    assert await leases.claim() is not None


async def test_a_new_process_takes_back_what_its_earlier_life_held(tasks: SqlTasks, leases: TaskLeases) -> None:
    task = await create(tasks)
    await claim(leases)

    await leases.take_back_all()

    assert (await again(tasks, task)).status is TaskStatus.PENDING


async def test_a_task_fails_when_its_time_is_over_before_anybody_goes_on_with_it(
    database: Database, tasks: SqlTasks, leases: TaskLeases
) -> None:
    task = await create(tasks)
    await leases.hand_back(await claim(leases))
    await set_row(database, task, deadline_at=1)

    assert await leases.claim() is None

    failed = await again(tasks, task)
    assert failed.error is not None
    assert failed.error["code"] == "deadline_exceeded"


# Cancelling and deleting
