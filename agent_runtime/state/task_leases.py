"""Tasks as those see them who run them: a lease that must be renewed, and writes that only its holder can make.

A lease is a row's epoch and a time. Whoever ends a lease, for whatever reason, counts the epoch up, so that every write
of the earlier holder finds no row and is refused: a process may stand still for an hour and wake without harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, exists, func, select, update

from agent_runtime.api.errors import DEADLINE_EXCEEDED, INTERNAL_ERROR, TASK_ABANDONED
from agent_runtime.pipeline.turn import Decision
from agent_runtime.state.clock import database_now
from agent_runtime.state.database import Database
from agent_runtime.state.schema import task_approvals, tasks
from agent_runtime.state.task import (
    TASK_INPUT,
    TaskInput,
    TaskStatus,
    ask_for_approval,
    end,
    failure,
    tell,
    tell_status,
)

T = TypeVar("T")

MAX_LOST_LEASES = 3
"""A task whose processes end so often in the same step is what ends them."""


@dataclass(frozen=True, slots=True, eq=False)
class Lease:
    """The right to run a task."""

    task_id: str
    number: int
    epoch: int
    principal: str
    agent: str
    input: TaskInput
    progress: str | None
    """As it was saved last; None: at the beginning."""
    decisions: Mapping[str, Decision]
    """What was decided of the calls that needed approval: ``approve`` or ``deny``."""
    seconds_left: float
    """Until the task must be done."""


class LeaseLostError(Exception):
    """The task is another's now, or has been canceled: nothing of it may be written any more."""


class TaskLeases:
    """Leases of tasks. Every method raises StateUnavailableError where the database fails; nothing is half-done.

    Args:
        database: where the tasks are kept.
        lease_seconds: how long a lease is good without a heartbeat.
        timeout_seconds: how long a task may take from its first claim on, without the time that approvals take.
    """

    def __init__(self, database: Database, *, lease_seconds: float, timeout_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._timeout_seconds = timeout_seconds

    async def claim(self) -> Lease | None:
        """The next task of the queue: of those with the highest priority the oldest; None where there is none."""
        return await self._database.run(self._claim)

    async def renew(self, leases: Iterable[Lease]) -> set[Lease]:
        """Hold the leases for longer; returns those that are lost."""
        ordered = sorted(leases, key=lambda lease: lease.number)  # two processes never wait for each other

        def work(connection: Connection) -> set[Lease]:
            return {lease for lease in ordered if self._write(connection, lease) is None}

        return await self._database.run(work) if ordered else set()

    async def save(self, lease: Lease, progress: str) -> None:
        """Keep how far the turn has come, for whoever claims the task next.

        Raises:
            LeaseLostError: it was not kept.
        """
        kept = _progress(progress)
        await self._database.run(lambda connection: self._hold(connection, lease, **kept))

    async def tell(self, lease: Lease, kind: str, fields: Mapping[str, Any]) -> None:
        """Add an event.

        Raises:
            LeaseLostError: it was not added.
        """

        def work(connection: Connection) -> None:
            self._hold(connection, lease)
            tell(connection, lease.number, kind, fields)

        await self._database.run(work)

    async def complete(
        self, lease: Lease, result: Mapping[str, Any], *, also: Sequence[Callable[[Connection], T]] = ()
    ) -> list[T]:
        """End the task with its result, and do what else belongs to its end, all or nothing; returns what that does.

        Raises:
            LeaseLostError: it was not ended.
        """

        def work(connection: Connection) -> list[T]:
            _end_held(connection, lease, TaskStatus.COMPLETED, result=result)
            return [write(connection) for write in also]

        return await self._database.run(work)

    async def fail(self, lease: Lease, error: Mapping[str, Any]) -> None:
        """End the task with an error.

        Raises:
            LeaseLostError: it was not ended.
        """
        await self._database.run(lambda connection: _end_held(connection, lease, TaskStatus.FAILED, error=error))

    async def await_approval(self, lease: Lease, progress: str, calls: Sequence[Mapping[str, Any]]) -> None:
        """Let go of the task until somebody has decided of these calls of tools.

        Args:
            lease: of the task.
            progress: how far it has come.
            calls: blocks of type tool_use.

        Raises:
            LeaseLostError: the task was not changed.
        """

        def work(connection: Connection) -> None:
            self._hold(
                connection, lease, **_progress(progress), status=TaskStatus.AWAITING_APPROVAL,
                waits_since=database_now(), epoch=tasks.c.epoch + 1, lease_expires_at=None,
            )  # fmt: skip
            ask_for_approval(connection, lease.number, calls)

        await self._database.run(work)

    async def hand_back(self, lease: Lease) -> None:
        """Put the task back in the queue, for another to go on with it at once.

        Raises:
            LeaseLostError: it was not ours any more.
        """

        def work(connection: Connection) -> None:
            self._hold(connection, lease, status=TaskStatus.PENDING, epoch=tasks.c.epoch + 1, lease_expires_at=None)
            tell_status(connection, lease.number, TaskStatus.PENDING)

        await self._database.run(work)

    async def take_back_all(self) -> None:
        """Put all running tasks back in the queue: for the only user of a database, whose earlier process is gone."""
        await self._database.run(lambda connection: _take_back(connection, tasks.c.status == TaskStatus.RUNNING))

    def _claim(self, connection: Connection) -> Lease | None:
        _take_back(connection, (tasks.c.status == TaskStatus.RUNNING) & (tasks.c.lease_expires_at < database_now()))
        while number := connection.execute(_NEXT).scalar_one_or_none():
            row = connection.execute(
                update(tasks)
                .where(tasks.c.number == number, tasks.c.status == TaskStatus.PENDING)
                .values(
                    status=TaskStatus.RUNNING,
                    epoch=tasks.c.epoch + 1,
                    started_at=func.coalesce(tasks.c.started_at, database_now()),
                    deadline_at=func.coalesce(
                        tasks.c.deadline_at, database_now() + round(self._timeout_seconds * 1000)
                    ),
                    lease_expires_at=self._expiry(),
                )
                .returning(tasks, (tasks.c.deadline_at - database_now()).label("left_ms"))
            ).one_or_none()
            if row is None:
                continue
            if row.left_ms <= 0:
                error = failure(DEADLINE_EXCEEDED, f"It was not done within {self._timeout_seconds:g} s.")
                end(connection, tasks.c.number == number, TaskStatus.FAILED, error=error)
                continue
            try:
                asked = TASK_INPUT.validate_json(row.input)
            except ValidationError:  # of another release; whoever waits behind it must not wait for ever
                error = failure(INTERNAL_ERROR, "This release of the runtime cannot read what was asked.")
                end(connection, tasks.c.number == number, TaskStatus.FAILED, error=error)
                continue
            tell_status(connection, number, TaskStatus.RUNNING)
            return Lease(
                task_id=row.id,
                number=number,
                epoch=row.epoch,
                principal=row.principal,
                agent=row.agent,
                input=asked,
                progress=row.progress,
                decisions=_decisions(connection, number),
                seconds_left=row.left_ms / 1000,
            )
        return None

    def _hold(self, connection: Connection, lease: Lease, **values: Any) -> None:
        if self._write(connection, lease, **values) is None:
            raise LeaseLostError(lease.task_id)

    def _write(self, connection: Connection, lease: Lease, **values: Any) -> int | None:
        written = update(tasks).where(_held(lease)).values({"lease_expires_at": self._expiry(), **values})
        return connection.execute(written.returning(tasks.c.number)).scalar_one_or_none()

    def _expiry(self) -> ColumnElement[int]:
        return database_now() + round(self._lease_seconds * 1000)


_other = tasks.alias()
_in_its_conversation = (
    exists()
    .where(_other.c.principal == tasks.c.principal, _other.c.conversation_id == tasks.c.conversation_id)
    .where(_other.c.status == TaskStatus.RUNNING)
)
_NEXT = (
    select(tasks.c.number)
    # A conversation takes one at a time: a task that had to wait for another would keep a third one from its place.
    .where(tasks.c.status == TaskStatus.PENDING, ~_in_its_conversation)
    .order_by(tasks.c.priority.desc(), tasks.c.number)
    .limit(1)
    .with_for_update(skip_locked=True, of=tasks)
)


def _held(lease: Lease) -> ColumnElement[bool]:
    return (tasks.c.id == lease.task_id) & (tasks.c.epoch == lease.epoch) & (tasks.c.status == TaskStatus.RUNNING)


def _progress(progress: str) -> dict[str, Any]:
    """What a step changes: how far the task has come, and with it what room it takes."""
    return {"progress": progress, "bytes": func.length(tasks.c.input) + len(progress.encode()), "lost": 0}


def _end_held(connection: Connection, lease: Lease, status: TaskStatus, **documents: Mapping[str, Any]) -> None:
    if not end(connection, _held(lease), status, **documents):
        raise LeaseLostError(lease.task_id)


def _take_back(connection: Connection, which: ColumnElement[bool]) -> None:
    """End leases whose holder is gone: the tasks go on from their last step, or fail where that does not help."""
    gone = select(tasks.c.number, tasks.c.lost).where(which).with_for_update(skip_locked=True)
    for number, lost in connection.execute(gone).all():
        if lost + 1 >= MAX_LOST_LEASES:
            error = failure(TASK_ABANDONED, f"The process that ran it ended {lost + 1} times in the same step.")
            end(connection, which & (tasks.c.number == number), TaskStatus.FAILED, error=error)
            continue
        values = {
            "status": TaskStatus.PENDING,
            "epoch": tasks.c.epoch + 1,
            "lost": tasks.c.lost + 1,
            "lease_expires_at": None,
        }
        if connection.execute(update(tasks).where(which, tasks.c.number == number).values(values)).rowcount:
            tell_status(connection, number, TaskStatus.PENDING)


def _decisions(connection: Connection, number: int) -> dict[str, Decision]:
    decided = select(task_approvals.c.call, task_approvals.c.decision).where(
        task_approvals.c.task == number, task_approvals.c.decision.is_not(None)
    )
    return {row.call: row.decision for row in connection.execute(decided)}
