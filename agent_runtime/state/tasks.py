"""Tasks as their callers see them: asked for, looked at, canceled, approved and deleted."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, Select, delete, func, insert, select, update

from agent_runtime.agent.model import Block
from agent_runtime.api.errors import APPROVAL_EXPIRED
from agent_runtime.state.clock import database_now
from agent_runtime.state.database import Database
from agent_runtime.state.schema import task_approvals, task_events, tasks
from agent_runtime.state.task import (
    FINISHED,
    TASK_INPUT,
    Approval,
    ApprovalDecidedError,
    NoSuchApprovalError,
    Task,
    TaskEvent,
    TaskFinishedError,
    TaskInput,
    TaskStatus,
    TaskUnfinishedError,
    TooManyTasksError,
    ask_for_approval,
    end,
    failure,
    tell_status,
)

MAX_OPEN_TASKS = 1000
"""Unfinished tasks of one principal: enough for a night's batch, and a bound on what one caller can pile up."""
MEASURED_TASKS = 20
"""Completed tasks whose mean time is the estimate for the next ones."""
DELETED_AT_ONCE = 100
PAGE_BYTES = 4 * 1024 * 1024
"""Most bytes of tasks on one page, unless a single one has more."""

Awaiting = tuple[str, Sequence[Block]]
"""How far a turn has come, and its tool_use blocks that people must decide on."""


class SqlTasks:
    """Tasks in a database. Every method raises StateUnavailableError where the database fails; nothing is half-done.

    Args:
        database: where they are kept.
        max_bytes: most bytes of all tasks together. None: no limit.
        max_open: most unfinished tasks of one principal.
    """

    def __init__(self, database: Database, *, max_bytes: int | None = None, max_open: int = MAX_OPEN_TASKS) -> None:
        self._database = database
        self._max_bytes = max_bytes
        self._max_open = max_open

    async def create(
        self,
        principal: str,
        agent: str,
        asked: TaskInput,
        *,
        priority: int,
        awaiting: Awaiting | None = None,
        also: Callable[[Connection, str], object] | None = None,
    ) -> Task:
        """Put a task in the queue, or keep one that first awaits approval.

        Args:
            principal: whose it is.
            agent: who shall answer.
            asked: what it shall answer.
            priority: from 1 to 10, which comes first.
            awaiting: how far it has come, and the calls that must be approved of; None: it is at its beginning.
            also: what else is written, all or nothing, with the id of the task.

        Raises:
            TooManyTasksError: there is no room for it.
        """
        document = TASK_INPUT.dump_json(asked).decode()
        progress, calls = awaiting or (None, ())
        size = len(document.encode()) + len((progress or "").encode())

        def work(connection: Connection) -> Task:
            self._require_room(connection, principal, size)
            task_id = uuid.uuid4().hex
            new: dict[str, Any] = {
                "id": task_id,
                "principal": principal,
                "agent": agent,
                "conversation_id": asked.conversation_id,
                "priority": priority,
                "status": TaskStatus.PENDING,
                "created_at": database_now(),
                "epoch": 0,
                "lost": 0,
                "last_event": 0,
                "bytes": size,
                "input": document,
                "progress": progress,
            }
            if calls:
                waits = {"status": TaskStatus.AWAITING_APPROVAL, "waits_since": database_now()}
                new |= waits | {"started_at": database_now()}
            inserted = insert(tasks).values(new).returning(tasks.c.number, tasks.c.created_at)
            number, created_at = connection.execute(inserted).one()
            if calls:
                ask_for_approval(connection, number, calls)
            else:
                tell_status(connection, number, TaskStatus.PENDING, at=created_at)
            if also is not None:
                also(connection, task_id)
            return _read(connection, _SHOWN.where(tasks.c.number == number))[0]

        return await self._database.run(work)

    async def get(self, principal: str, task_id: str) -> Task | None:
        """The task; None where this principal has no such task."""
        found = await self._database.run(lambda connection: _read(connection, _SHOWN.where(_own(principal, task_id))))
        return found[0] if found else None

    async def newest(
        self, principal: str, *, status: TaskStatus | None = None, before: int | None = None, limit: int
    ) -> tuple[list[Task], bool]:
        """The newest tasks of a principal, of those with this status and with numbers below `before`.

        Returns:
            `limit` of them at most, fewer where they are large; and whether these are the last ones.
        """
        listed = select(tasks.c.number, tasks.c.bytes).where(tasks.c.principal == principal)
        if status is not None:
            listed = listed.where(tasks.c.status == status)
        if before is not None:
            listed = listed.where(tasks.c.number < before)
        listed = listed.order_by(tasks.c.number.desc()).limit(limit + 1)

        def work(connection: Connection) -> tuple[list[Task], bool]:
            rows = connection.execute(listed).all()
            sizes = accumulate(row.bytes for row in rows)
            fitting = sum(size <= PAGE_BYTES for size in sizes)
            page = [row.number for row in rows[: min(limit, max(1, fitting))]]
            chosen = _SHOWN.where(tasks.c.number.in_(page)).order_by(tasks.c.number.desc())
            return _read(connection, chosen), len(page) == len(rows)

        return await self._database.run(work)

    async def events(self, task_id: str, *, after: int, limit: int) -> tuple[list[TaskEvent], bool]:
        """What happened in a task after the event with the id `after`, in order.

        Returns:
            `limit` events at most; and whether nothing more will happen, since the task has ended or was deleted.
        """

        def work(connection: Connection) -> tuple[list[TaskEvent], bool]:
            of_task = select(tasks.c.number, tasks.c.status).where(tasks.c.id == task_id)
            task = connection.execute(of_task).one_or_none()
            if task is None:
                return [], True
            chosen = (
                select(task_events.c.id, task_events.c.type, task_events.c.fields)
                .where(task_events.c.task == task.number, task_events.c.id > after)
                .order_by(task_events.c.id)
                .limit(limit)
            )
            rows = connection.execute(chosen).all()
            events = [TaskEvent(row.id, row.type, orjson.loads(row.fields)) for row in rows]
            return events, TaskStatus(task.status).finished

        return await self._database.run(work)

    async def cancel(self, principal: str, task_id: str) -> Task | None:
        """End a task for good: whoever runs it can write nothing more. None where this principal has no such task.

        Raises:
            TaskFinishedError: it has ended otherwise.
        """

        def work(connection: Connection) -> Task | None:
            status = _lock(connection, principal, task_id)
            if status is None:
                return None
            if status.finished and status is not TaskStatus.CANCELED:
                raise TaskFinishedError(status.value)
            if status is not TaskStatus.CANCELED:
                end(connection, tasks.c.id == task_id, TaskStatus.CANCELED)
            return _read(connection, _SHOWN.where(tasks.c.id == task_id))[0]

        return await self._database.run(work)

    async def delete(self, principal: str, task_id: str) -> bool:
        """Forget a task that has ended; False where this principal has no such task.

        Raises:
            TaskUnfinishedError: it has not.
        """

        def work(connection: Connection) -> bool:
            status = _lock(connection, principal, task_id)
            if status is None:
                return False
            if not status.finished:
                raise TaskUnfinishedError
            connection.execute(delete(tasks).where(tasks.c.id == task_id))
            return True

        return await self._database.run(work)

    async def decide(self, principal: str, task_id: str, call: str, decision: str) -> Task | None:
        """Approve or deny a call; after the last one the task goes on. None where this principal has no such task.

        Raises:
            NoSuchApprovalError: the task awaits no approval of `call`.
            ApprovalDecidedError: it was decided otherwise.
        """

        def work(connection: Connection) -> Task | None:
            status = _lock(connection, principal, task_id)
            if status is None:
                return None
            number = connection.execute(select(tasks.c.number).where(tasks.c.id == task_id)).scalar_one()
            of_call = (task_approvals.c.task == number) & (task_approvals.c.call == call)
            row = connection.execute(select(task_approvals.c.decision).where(of_call)).one_or_none()
            if row is None or (row.decision is None and status is not TaskStatus.AWAITING_APPROVAL):
                raise NoSuchApprovalError
            if row.decision not in {None, decision}:
                raise ApprovalDecidedError(row.decision)
            if row.decision is None:
                values = {"decision": decision, "decided_by": principal, "decided_at": database_now()}
                connection.execute(update(task_approvals).where(of_call).values(values))
                _go_on_once_decided(connection, number)
            return _read(connection, _SHOWN.where(tasks.c.id == task_id))[0]

        return await self._database.run(work)

    async def counts(self) -> dict[TaskStatus, int]:
        """How many tasks there are of each status, of all principals."""
        counted = select(tasks.c.status, func.count()).group_by(tasks.c.status)
        rows = await self._database.run(lambda connection: connection.execute(counted).all())
        return dict.fromkeys(TaskStatus, 0) | {TaskStatus(status): count for status, count in rows}

    async def forget(self, seconds: float) -> None:
        """Delete what ended longer ago, and give up what has awaited approval for longer."""
        moment = database_now() - round(seconds * 1000)

        def expire(connection: Connection) -> None:
            waits = (tasks.c.status == TaskStatus.AWAITING_APPROVAL) & (tasks.c.waits_since < moment)
            for number in connection.execute(select(tasks.c.number).where(waits)).scalars().all():
                error = failure(APPROVAL_EXPIRED, f"Nobody decided within {seconds:g} s (tasks.resultTTLSeconds).")
                end(connection, waits & (tasks.c.number == number), TaskStatus.FAILED, error=error)

        def forget_some(connection: Connection) -> int:
            old = select(tasks.c.number).where(tasks.c.status.in_(FINISHED), tasks.c.completed_at < moment)
            some = old.limit(DELETED_AT_ONCE).scalar_subquery()
            return connection.execute(delete(tasks).where(tasks.c.number.in_(some))).rowcount

        await self._database.run(expire)
        while await self._database.run(forget_some):
            pass

    def _require_room(self, connection: Connection, principal: str, size: int) -> None:
        unfinished = tasks.c.status.not_in(FINISHED)
        of_principal = select(func.count()).where(tasks.c.principal == principal, unfinished)
        if connection.execute(of_principal).scalar_one() >= self._max_open:
            raise TooManyTasksError(f"{self._max_open} tasks of yours are not finished")
        if self._max_bytes is None:
            return
        used: int = connection.execute(select(func.coalesce(func.sum(tasks.c.bytes), 0))).scalar_one()
        if used + size > self._max_bytes:
            raise TooManyTasksError(f"the tasks that are kept fill their {self._max_bytes >> 20} MiB of the database")


_QUEUE = (
    select(
        tasks.c.number,
        func.row_number().over(order_by=(tasks.c.priority.desc(), tasks.c.number)).label("position"),
    )
    .where(tasks.c.status == TaskStatus.PENDING)
    .subquery()
)
_LATEST = (
    select((tasks.c.completed_at - tasks.c.started_at).label("ms"))
    .where(tasks.c.status == TaskStatus.COMPLETED)
    .order_by(tasks.c.completed_at.desc())
    .limit(MEASURED_TASKS)
    .subquery()
)
_RUNNING = tasks.alias()
_SHOWN = select(
    tasks,
    _QUEUE.c.position,
    select(func.avg(_LATEST.c.ms)).scalar_subquery().label("mean_ms"),
    (database_now() - tasks.c.started_at).label("age_ms"),
    select(func.count()).where(_RUNNING.c.status == TaskStatus.RUNNING).scalar_subquery().label("running"),
).select_from(tasks.outerjoin(_QUEUE, tasks.c.number == _QUEUE.c.number))


def _own(principal: str, task_id: str) -> ColumnElement[bool]:
    return (tasks.c.id == task_id) & (tasks.c.principal == principal)


def _lock(connection: Connection, principal: str, task_id: str) -> TaskStatus | None:
    """The status of a task, which nobody else changes now; None where this principal has no such task."""
    locked = select(tasks.c.status).where(_own(principal, task_id)).with_for_update()
    status = connection.execute(locked).scalar_one_or_none()
    return None if status is None else TaskStatus(status)


def _read(connection: Connection, chosen: Select[Any]) -> list[Task]:
    rows = connection.execute(chosen).all()
    approvals = _approvals(connection, [row.number for row in rows])
    return [_task(row, approvals.get(row.number, ())) for row in rows]


def _approvals(connection: Connection, numbers: Sequence[int]) -> dict[int, tuple[Approval, ...]]:
    chosen = select(task_approvals).where(task_approvals.c.task.in_(numbers)).order_by(task_approvals.c.call)
    found: dict[int, tuple[Approval, ...]] = {}
    for row in connection.execute(chosen):
        approval = Approval(row.call, row.tool, orjson.loads(row.input), row.decision)
        found[row.task] = (*found.get(row.task, ()), approval)
    return found


def _task(row: Row[Any], approvals: Iterable[Approval]) -> Task:
    return Task(
        number=row.number,
        id=row.id,
        agent=row.agent,
        priority=row.priority,
        status=TaskStatus(row.status),
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        input=TASK_INPUT.validate_json(row.input),
        progress=row.progress,
        result=row.result and orjson.loads(row.result),
        error=row.error and orjson.loads(row.error),
        position=row.position,
        mean_ms=None if row.mean_ms is None else round(row.mean_ms),
        age_ms=row.age_ms,
        running=row.running,
        approvals=tuple(approvals),
    )


def _go_on_once_decided(connection: Connection, number: int) -> None:
    awaited = select(func.count()).where(task_approvals.c.task == number, task_approvals.c.decision.is_(None))
    if connection.execute(awaited).scalar_one():
        return
    moved = tasks.c.deadline_at + (database_now() - tasks.c.waits_since)
    values = {"status": TaskStatus.PENDING, "deadline_at": moved, "waits_since": None}
    connection.execute(update(tasks).where(tasks.c.number == number).values(values))
    tell_status(connection, number, TaskStatus.PENDING)
