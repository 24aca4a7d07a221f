"""What a task is, and the writes to its row that its callers and those who run it have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson
from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Connection, insert, select, update

from agent_runtime.agent.model import Content
from agent_runtime.api.errors import ProblemError, ProblemKind
from agent_runtime.state.clock import database_now
from agent_runtime.state.schema import task_approvals, task_events, tasks


class TaskStatus(StrEnum):
    """Where a task is between its request and its end."""

    PENDING = "pending"
    RUNNING = "running"
    AWAITING_APPROVAL = "awaiting_approval"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def finished(self) -> bool:
        """Whether nothing more happens to it."""
        return self in FINISHED


FINISHED = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELED})


@dataclass(frozen=True, slots=True)
class TaskInput:
    """What a task shall answer."""

    content: Content
    request_id: str
    """Of the request that asked; the lines that the task logs have it, too."""
    conversation_id: str | None = None
    """Where it is remembered; None: nowhere."""
    begins: bool = False
    """Whether the conversation begins with it."""
    output_schema: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None


TASK_INPUT = TypeAdapter(TaskInput)
"""Its form in the database."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A call of a tool that somebody must approve, or has."""

    call: str
    tool: str
    input: Mapping[str, Any]
    decision: str | None
    """``approve`` or ``deny``; None while it is awaited."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it was at one moment. Times are in milliseconds since 1970, None as long as they have not come."""

    number: int
    """Newer tasks have higher ones."""
    id: str
    agent: str
    priority: int
    status: TaskStatus
    created_at: int
    started_at: int | None
    completed_at: int | None
    input: TaskInput
    progress: str | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    position: int | None
    """In the queue, from 1; None unless pending."""
    mean_ms: int | None
    """Mean time of the tasks that were completed last; None where there are none."""
    age_ms: int | None
    """Since it was started."""
    running: int
    """Tasks of the service that run."""
    approvals: tuple[Approval, ...]


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """Something that happened in a task; ids count up from 1."""

    id: int
    type: str
    fields: dict[str, Any]


class TooManyTasksError(Exception):
    """There is no room for a further task; the message says of what there is too much."""


class TaskFinishedError(Exception):
    """The task has ended, with the status that is the message."""


class TaskUnfinishedError(Exception):
    """The task has not ended yet."""


class NoSuchApprovalError(Exception):
    """The task awaits no approval of such a call."""


class ApprovalDecidedError(Exception):
    """The call was decided otherwise; the message is the decision."""


def tell(connection: Connection, number: int, kind: str, fields: Mapping[str, Any]) -> None:
    """Add an event to a task."""
    counted = (
        update(tasks)
        .where(tasks.c.number == number)
        .values(last_event=tasks.c.last_event + 1)
        .returning(tasks.c.last_event)
    )
    last = connection.execute(counted).scalar_one()
    event = {"task": number, "id": last, "type": kind, "fields": orjson.dumps(fields).decode()}
    connection.execute(insert(task_events).values(event))


def tell_status(connection: Connection, number: int, status: TaskStatus, *, at: int | None = None) -> None:
    """Add the event that a task has a new status, since the moment `at` or now."""
    if at is None:
        at = connection.execute(select(database_now())).scalar_one()
    tell(connection, number, "status", {"status": status.value, "at": at})


def ask_for_approval(connection: Connection, number: int, calls: Sequence[Mapping[str, Any]]) -> None:
    """Note which calls of a task, blocks of type tool_use, await approval, and tell so."""
    asked = [
        {"task": number, "call": call["id"], "tool": call["name"], "input": orjson.dumps(call["input"]).decode()}
        for call in calls
    ]
    connection.execute(insert(task_approvals), asked)
    tell_status(connection, number, TaskStatus.AWAITING_APPROVAL)


def end(
    connection: Connection,
    which: ColumnElement[bool],
    status: TaskStatus,
    *,
    result: Mapping[str, Any] | None = None,
    error: Mapping[str, Any] | None = None,
) -> bool:
    """Give a task its last status; False where there is none such any more."""
    documents = {
        name: None if document is None else orjson.dumps(document).decode()
        for name, document in (("result", result), ("error", error))
    }
    ended = (
        update(tasks)
        .where(which)
        .values(
            status=status,
            completed_at=database_now(),
            epoch=tasks.c.epoch + 1,
            lease_expires_at=None,
            waits_since=None,
            bytes=tasks.c.bytes + sum(len(document) for document in documents.values() if document),
            **documents,
        )
        .returning(tasks.c.number)
    )
    number = connection.execute(ended).scalar_one_or_none()
    if number is None:
        return False
    tell_status(connection, number, status)
    return True


def failure(kind: ProblemKind, detail: str) -> dict[str, Any]:
    """The error of a task, in the words of problem details."""
    return error_of(ProblemError(kind, detail))


def error_of(problem: ProblemError) -> dict[str, Any]:
    """A problem as the error of a task."""
    return {"code": problem.kind.code, "title": problem.kind.title, "detail": problem.detail}
