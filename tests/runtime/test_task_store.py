"""Tasks as their callers see them, in the database: canceled, deleted, approved, forgotten, and bounded."""

from __future__ import annotations

import pytest

from agent_runtime.state.database import Database
from agent_runtime.state.task import (
    ApprovalDecidedError,
    NoSuchApprovalError,
    TaskFinishedError,
    TaskInput,
    TaskStatus,
    TaskUnfinishedError,
    TooManyTasksError,
)
from agent_runtime.state.task_leases import TaskLeases
from agent_runtime.state.tasks import SqlTasks
from tests.runtime.stored_tasks import CALLS, again, claim, create, room, set_row


async def test_a_pending_task_can_be_canceled(tasks: SqlTasks, leases: TaskLeases) -> None:
    task = await create(tasks)

    canceled = await tasks.cancel("demo", task.id)

    assert canceled is not None
    assert canceled.status is TaskStatus.CANCELED
    assert canceled.completed_at is not None
    assert await leases.claim() is None
    assert await tasks.cancel("demo", task.id) == canceled


async def test_a_task_that_ended_otherwise_cannot_be_canceled(tasks: SqlTasks, leases: TaskLeases) -> None:
    task = await create(tasks)
    await leases.complete(await claim(leases), {})

    with pytest.raises(TaskFinishedError, match="completed"):
        await tasks.cancel("demo", task.id)


async def test_only_a_task_that_has_ended_can_be_deleted(tasks: SqlTasks) -> None:
    task = await create(tasks)
    with pytest.raises(TaskUnfinishedError):
        await tasks.delete("demo", task.id)
    await tasks.cancel("demo", task.id)

    assert await tasks.delete("demo", task.id)

    assert await tasks.get("demo", task.id) is None
    assert not await tasks.delete("demo", task.id)


async def test_the_tasks_of_others_are_not_there(tasks: SqlTasks) -> None:
    task = await create(tasks)

    assert await tasks.get("other", task.id) is None
    assert await tasks.cancel("other", task.id) is None
    assert await tasks.decide("other", task.id, "call1", "approve") is None
    assert not await tasks.delete("other", task.id)
    assert await tasks.newest("other", limit=10) == ([], True)


async def test_a_task_is_forgotten_some_time_after_its_end(database: Database, tasks: SqlTasks) -> None:
    old, recent, pending = await create(tasks), await create(tasks), await create(tasks)
    for task in (old, recent):
        await tasks.cancel("demo", task.id)
    await set_row(database, old, completed_at=1)
    await set_row(database, pending, created_at=1)

    await tasks.forget(60)

    kept, _ = await tasks.newest("demo", limit=10)
    assert [task.id for task in kept] == [pending.id, recent.id]


# Approvals


async def test_a_task_goes_on_once_all_its_calls_are_decided(
    database: Database, tasks: SqlTasks, leases: TaskLeases
) -> None:
    task = await create(tasks)
    await leases.await_approval(await claim(leases), '{"step": 1}', [*CALLS, {**CALLS[0], "id": "call2"}])
    waiting = await again(tasks, task)
    assert (waiting.status, [approval.call for approval in waiting.approvals]) == (
        TaskStatus.AWAITING_APPROVAL,
        ["call1", "call2"],
    )
    await set_row(database, task, waits_since=1)  # years of thought

    await tasks.decide("demo", task.id, "call1", "approve")
    assert await leases.claim() is None
    await tasks.decide("demo", task.id, "call2", "deny")

    lease = await claim(leases)
    assert (lease.progress, lease.decisions) == ('{"step": 1}', {"call1": "approve", "call2": "deny"})
    assert lease.seconds_left > 600


async def test_a_decision_stands(tasks: SqlTasks, leases: TaskLeases) -> None:
    task = await create(tasks)
    await leases.await_approval(await claim(leases), "{}", CALLS)
    await tasks.decide("demo", task.id, "call1", "approve")

    assert await tasks.decide("demo", task.id, "call1", "approve") is not None
    with pytest.raises(ApprovalDecidedError, match="approve"):
        await tasks.decide("demo", task.id, "call1", "deny")
    with pytest.raises(NoSuchApprovalError):
        await tasks.decide("demo", task.id, "call2", "approve")


async def test_a_canceled_task_awaits_nothing(tasks: SqlTasks, leases: TaskLeases) -> None:
    task = await create(tasks)
    await leases.await_approval(await claim(leases), "{}", CALLS)
    await tasks.cancel("demo", task.id)

    with pytest.raises(NoSuchApprovalError):
        await tasks.decide("demo", task.id, "call1", "approve")

    assert await leases.claim() is None


async def test_approval_is_not_awaited_for_ever(database: Database, tasks: SqlTasks, leases: TaskLeases) -> None:
    task = await create(tasks)
    await leases.await_approval(await claim(leases), "{}", CALLS)
    await set_row(database, task, waits_since=1)

    await tasks.forget(60)

    failed = await again(tasks, task)
    assert failed.error is not None
    assert failed.error["code"] == "approval_expired"


# Room


async def test_one_caller_cannot_fill_the_queue(database: Database) -> None:
    tasks = SqlTasks(database, max_open=2)
    first = await create(tasks)
    await create(tasks)

    with pytest.raises(TooManyTasksError, match="2 tasks of yours are not finished"):
        await create(tasks)

    await create(tasks, "other")
    await tasks.cancel("demo", first.id)
    await create(tasks)


async def test_tasks_have_a_part_of_a_small_database(database: Database, leases: TaskLeases) -> None:
    tasks = SqlTasks(database, max_bytes=3000)
    await create(tasks)
    await leases.save(await claim(leases), "x" * 2000)

    with pytest.raises(TooManyTasksError, match="fill their"):
        await create(tasks, asked=TaskInput("x" * 1000, request_id="r1"))


async def test_a_page_of_large_tasks_is_short(database: Database, tasks: SqlTasks) -> None:
    for _ in range(3):
        await set_row(database, await create(tasks), bytes=3 * 1024 * 1024)

    page, is_last = await tasks.newest("demo", limit=3)

    assert (len(page), is_last) == (1, False)


async def test_all_are_counted(tasks: SqlTasks, leases: TaskLeases) -> None:
    for _ in range(3):
        await create(tasks)
    await claim(leases)

    counts = await tasks.counts()

    assert (counts[TaskStatus.PENDING], counts[TaskStatus.RUNNING], counts[TaskStatus.FAILED]) == (2, 1, 0)


async def test_progress_that_awaits_approval_counts_into_the_room_with_all_its_bytes(
    database: Database, tasks: SqlTasks, leases: TaskLeases
) -> None:
    task = await create(tasks)
    lease = await claim(leases)
    before = await room(database, task)

    await leases.await_approval(lease, "ö" * 1000, CALLS)

    assert await room(database, task) == before + 2000
