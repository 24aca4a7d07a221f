"""Tasks on their way between callers and the store: asked for, or made of a turn that people must approve of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from agent_runtime.api.errors import (
    APPROVAL_DECIDED,
    APPROVAL_NOT_FOUND,
    STATE_UNAVAILABLE,
    TASK_FINISHED,
    TASK_NOT_FOUND,
    TASK_UNFINISHED,
    TOO_MANY_TASKS,
    ProblemError,
)
from agent_runtime.api.json_response import json_response
from agent_runtime.pipeline.idempotency import REPLAYED, Claim
from agent_runtime.pipeline.turn import PRIORITY, ApprovalNeeded, Progress, Turn
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.task import (
    ApprovalDecidedError,
    NoSuchApprovalError,
    Task,
    TaskFinishedError,
    TaskInput,
    TaskStatus,
    TaskUnfinishedError,
    TooManyTasksError,
)
from agent_runtime.state.tasks import SqlTasks
from agent_runtime.tasks.bell import QUEUE, Bell

TASK_PROBLEMS = (TASK_NOT_FOUND, STATE_UNAVAILABLE)
"""What may become of every call that is about a task."""


@dataclass(frozen=True)
class Tasks:
    """The tasks of a service, for those who answer callers."""

    store: SqlTasks
    bell: Bell
    prefix: str
    """Of the paths of this service, as callers see them."""
    slots: int
    """Tasks that surely run at once, where there are any to run."""

    async def create(
        self, principal: str, agent: str, asked: TaskInput, *, priority: int, key: Claim | None = None
    ) -> Task:
        """Put a task in the queue, as the answer to the request that holds `key`.

        Raises:
            ProblemError: there is no room for it, or the database fails.
        """
        with problems_of_tasks():
            task = await self.store.create(
                principal, agent, asked, priority=priority, also=None if key is None else key.keep_task
            )
        self.bell.ring(QUEUE)
        return task

    async def adopt(
        self, turn: Turn, needed: ApprovalNeeded, metadata: dict[str, str] | None, *, key: Claim | None = None
    ) -> Task:
        """Make a task of a turn, which goes on when people have decided on its calls.

        Args:
            turn: that cannot be answered now.
            needed: where it stands.
            metadata: of its caller.
            key: of the request, whose answer the task is.

        Raises:
            ProblemError: there is no room for it, or the database fails.
        """
        asked = TaskInput(
            content=turn.content,
            request_id=turn.context.request_id,
            conversation_id=turn.context.conversation_id,
            output_schema=turn.output_schema,
            metadata=metadata,
        )
        with problems_of_tasks():
            return await self.store.create(
                turn.principal,
                turn.agent.name,
                asked,
                priority=PRIORITY if turn.batch_priority is None else turn.batch_priority,
                awaiting=(needed.progress.dumps(), needed.calls),
                also=None if key is None else key.keep_task,
            )

    async def replayed(self, principal: str, task_id: str) -> Response:
        """The answer to a request that is repeated, which made a task: the task as it is now.

        Raises:
            ProblemError: it was deleted since, or the database fails.
        """
        with problems_of_tasks():
            task = await self.store.get(principal, task_id)
        if task is None:
            raise task_not_found()
        return self.accepted(task, headers=REPLAYED)

    def accepted(self, task: Task, *, headers: Mapping[str, str] | None = None) -> Response:
        """The answer to a request that made a task: where the answer will be."""
        location = {"Location": f"{self.prefix}/v1/tasks/{task.id}"}
        return json_response(self.document(task), HTTPStatus.ACCEPTED, headers=location | dict(headers or {}))

    def document(self, task: Task) -> dict[str, Any]:
        """A task as its caller sees it."""
        result = dict(task.result or {})
        usage = result.pop("usage", None)
        if usage is None and task.progress is not None:
            usage = Progress.loads(task.progress).usage.document()
        return {
            "id": task.id,
            "status": task.status.value,
            "agent": task.agent,
            "priority": task.priority,
            "conversation_id": task.input.conversation_id,
            "created_at": moment(task.created_at),
            "started_at": moment(task.started_at),
            "completed_at": moment(task.completed_at),
            "input": {"message": task.input.content},
            "result": result or None,
            "error": task.error,
            "usage": usage,
            "position": task.position,
            "eta_seconds": self._eta_seconds(task),
            "approvals": [asdict(approval) for approval in task.approvals],
            "metadata": task.input.metadata,
        }

    def _eta_seconds(self, task: Task) -> float | None:
        """Until the task ends, if it takes as long as the latest ones did, and so do those before it."""
        if task.mean_ms is None:
            return None
        if task.position is not None:
            # While tasks wait, as many run as can, of however many processes.
            at_once = max(self.slots, task.running)
            return round(task.mean_ms * math.ceil(task.position / at_once) / 1000, 1)
        if task.status is TaskStatus.RUNNING and task.age_ms is not None:
            return round(max(0, task.mean_ms - task.age_ms) / 1000, 1)
        return None


def moment(milliseconds: int | None) -> str | None:
    """A time since 1970 as callers see it."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def task_not_found() -> ProblemError:
    """The problem of a task that is not there; also of somebody else's: that it exists is nobody's business."""
    return ProblemError(TASK_NOT_FOUND, "It was deleted, its time was over (tasks.resultTTLSeconds), or never yours.")


@contextmanager
def problems_of_tasks() -> Iterator[None]:
    """Say what the store of the tasks refuses as callers see it."""
    try:
        yield
    except StateUnavailableError as error:
        raise ProblemError(STATE_UNAVAILABLE, f"The database of the tasks fails: {error}.") from None
    except TooManyTasksError as error:
        raise ProblemError(TOO_MANY_TASKS, f"{error}; delete some, or wait until they are done.".capitalize()) from None
    except TaskFinishedError as error:
        raise ProblemError(TASK_FINISHED, f"It is {error}, and nothing changes that.") from None
    except TaskUnfinishedError:
        raise ProblemError(TASK_UNFINISHED, "Cancel it first, or wait until it has ended.") from None
    except NoSuchApprovalError:
        raise ProblemError(APPROVAL_NOT_FOUND, "The calls that await approval are in the task's approvals.") from None
    except ApprovalDecidedError as error:
        raise ProblemError(APPROVAL_DECIDED, f"The decision was: {error}.") from None
