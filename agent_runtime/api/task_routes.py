"""The tasks API: turns that are asked for now and answered later."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import nullcontext
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent_runtime.api.answers import TaskDocument, TaskEventDocument, TaskPage
from agent_runtime.api.ask import Agents, Ask
from agent_runtime.api.content import content_of, text_length
from agent_runtime.api.errors import (
    AGENT_NOT_FOUND,
    APPROVAL_DECIDED,
    APPROVAL_NOT_FOUND,
    CONVERSATION_NOT_FOUND,
    INVALID_HEADER,
    OVERLOADED,
    SHUTTING_DOWN,
    STATE_UNAVAILABLE,
    TASK_FINISHED,
    TASK_UNFINISHED,
    TOO_MANY_FOLLOWERS,
    TOO_MANY_TASKS,
    ProblemError,
)
from agent_runtime.api.event_stream import LAST_EVENT_ID, EventStream, encoded, last_event_id
from agent_runtime.api.followers import Followers
from agent_runtime.api.input import NO_TEXT, read_json, read_query
from agent_runtime.api.json_response import json_response
from agent_runtime.api.openapi import operation
from agent_runtime.api.tasks import TASK_PROBLEMS, Tasks, moment, problems_of_tasks, task_not_found
from agent_runtime.lifecycle import Lifecycle, Phase
from agent_runtime.pipeline.context import context_of
from agent_runtime.pipeline.departure import Departure
from agent_runtime.pipeline.idempotency import Idempotency
from agent_runtime.pipeline.interruption import while_present
from agent_runtime.pipeline.turn import PRIORITY
from agent_runtime.state.conversations import ConversationStore
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.idempotency import KeptAnswer
from agent_runtime.state.task import NoSuchApprovalError, Task, TaskEvent, TaskInput, TaskStatus
from agent_runtime.tasks.bell import LEASES, QUEUE, heard_within
from agent_runtime.tasks.runner import PROTOCOL

T = TypeVar("T")

_ID = re.compile(r"[0-9a-f]{32}")
_CALL = re.compile(r"[!-~]{1,128}")

EVENTS_AT_ONCE = 100
"""Read in one statement; a stream that goes on from far back takes several."""


class TaskRequest(Ask):
    """What a caller sends."""

    priority: Annotated[int, Field(ge=1, le=10), NO_TEXT] = PRIORITY
    """Of the tasks that wait, the one with the highest goes first, of several the oldest."""


class Decision(BaseModel):
    """What a caller decides of a tool call."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: Literal["approve", "deny"]


class TaskQuery(BaseModel):
    """Which tasks a caller wants to see."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: TaskStatus | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,18}$")] | None = None
    """``next_cursor`` of the page before."""


def task_routes(
    tasks: Tasks,
    agents: Agents,
    conversations: ConversationStore,
    *,
    idempotency: Idempotency,
    lifecycle: Lifecycle,
    followers: Followers,
) -> APIRouter:
    """The routes of the tasks API. To everybody else than its principal a task is not there."""
    router = APIRouter(tags=["Tasks"])
    asked = operation(
        "Ask for later",
        body=TaskRequest,
        idempotent=True,
        statuses=[],
        accepted=TaskDocument,
        problems=[AGENT_NOT_FOUND, CONVERSATION_NOT_FOUND, TOO_MANY_TASKS, STATE_UNAVAILABLE],
    )

    @router.post("/v1/tasks", **asked)
    async def create(request: Request) -> Response:
        body = await read_json(request, TaskRequest)
        agent = agents.asked(body)
        principal = _principal(request)
        context = context_of(request.scope)
        context.message_length = text_length(body.message)
        if body.conversation_id is not None:
            with problems_of_tasks():
                await _require_conversation(conversations, principal, agent.name, body.conversation_id)
        key = await idempotency.claim(request)
        if isinstance(key, KeptAnswer):
            return await tasks.replayed(principal, key.task_id or "")
        async with key or nullcontext():
            wanted = _task_input(body, context.request_id)
            task = await tasks.create(principal, agent.name, wanted, priority=body.priority, key=key)
        return tasks.accepted(task)

    listed = operation("List your tasks", query=TaskQuery, answer=TaskPage, problems=[STATE_UNAVAILABLE])

    @router.get("/v1/tasks", **listed)
    async def newest(request: Request) -> Response:
        query = read_query(request, TaskQuery)
        before = None if query.cursor is None else int(query.cursor)
        with problems_of_tasks():
            page, is_last = await tasks.store.newest(
                _principal(request), status=query.status, before=before, limit=query.limit
            )
        cursor = None if is_last else str(page[-1].number)
        return json_response({"items": [tasks.document(task) for task in page], "next_cursor": cursor})

    _add_routes_of_one(router, tasks, lifecycle, followers)
    return router


def _add_routes_of_one(router: APIRouter, tasks: Tasks, lifecycle: Lifecycle, followers: Followers) -> None:
    read = operation("Read a task", answer=TaskDocument, problems=TASK_PROBLEMS)
    followed = operation(
        "Follow a task",
        headers=LAST_EVENT_ID,
        events=TaskEventDocument,
        problems=[*TASK_PROBLEMS, INVALID_HEADER, TOO_MANY_FOLLOWERS, OVERLOADED, SHUTTING_DOWN],
    )
    canceled = operation("Cancel a task", answer=TaskDocument, problems=[*TASK_PROBLEMS, TASK_FINISHED])
    decided = operation(
        "Decide on a call",
        body=Decision,
        answer=TaskDocument,
        problems=[*TASK_PROBLEMS, APPROVAL_NOT_FOUND, APPROVAL_DECIDED],
    )
    deleted = operation("Delete a task", statuses=[HTTPStatus.NO_CONTENT], problems=[*TASK_PROBLEMS, TASK_UNFINISHED])

    @router.get("/v1/tasks/{task_id}", **read)
    async def get(request: Request, task_id: str) -> Response:
        return json_response(tasks.document(await _found(tasks.store.get(_principal(request), _named(task_id)))))

    @router.get("/v1/tasks/{task_id}/events", **followed)
    async def events(request: Request, task_id: str) -> Response:
        after = last_event_id(request)
        task = await _found(tasks.store.get(_principal(request), _named(task_id)))
        return _TaskEvents(task, tasks, followers, after=after, lifecycle=lifecycle)

    @router.post("/v1/tasks/{task_id}/cancel", **canceled)
    async def cancel(request: Request, task_id: str) -> Response:
        task = await _found(tasks.store.cancel(_principal(request), _named(task_id)))
        for topic in (LEASES, task_id):
            tasks.bell.ring(topic)
        return json_response(tasks.document(task))

    @router.post("/v1/tasks/{task_id}/approvals/{call}", **decided)
    async def decide(request: Request, task_id: str, call: str) -> Response:
        body = await read_json(request, Decision)
        with problems_of_tasks():
            if not _CALL.fullmatch(call):
                raise NoSuchApprovalError
        task = await _found(tasks.store.decide(_principal(request), _named(task_id), call, body.decision))
        for topic in (QUEUE, task_id):
            tasks.bell.ring(topic)
        return json_response(tasks.document(task))

    @router.delete("/v1/tasks/{task_id}", **deleted)
    async def delete(request: Request, task_id: str) -> Response:
        await _found(tasks.store.delete(_principal(request), _named(task_id)))
        return Response(status_code=HTTPStatus.NO_CONTENT)


def _task_input(asked: TaskRequest, request_id: str) -> TaskInput:
    # Ids are ours, so nobody can take or guess the id of somebody else's conversation.
    new = uuid.uuid4().hex if asked.store and asked.conversation_id is None else None
    return TaskInput(
        content=content_of(asked.message),
        request_id=request_id,
        conversation_id=asked.conversation_id or new,
        begins=new is not None,
        output_schema=None if asked.response_format is None else asked.response_format.definition,
        metadata=asked.metadata,
    )


class _TaskEvents(Response):
    """What has happened in a task since an event, and then what happens, until its end."""

    def __init__(self, task: Task, tasks: Tasks, followers: Followers, *, after: int, lifecycle: Lifecycle) -> None:
        super().__init__()
        self._task = task
        self._tasks = tasks
        self._followers = followers
        self._after = after
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._followers.place(context_of(scope).principal or ""):
            await self._follow(scope, receive, send)

    async def _follow(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        stream = EventStream(send)
        try:
            async with Departure(receive) as departure, while_present(departure), stream.kept_alive():
                with self._tasks.bell.listening(self._task.id) as heard:
                    async for event in self._happening(heard):
                        await stream.write(encoded(event.id, event.type, _shown(event)))
        except ProblemError as problem:
            if not stream.started:
                raise
            context.fail(problem.kind.status, problem.kind.code)
            fields = problem.document(path=scope["path"], request_id=context.request_id)
            del fields["type"]
            # Without an id, since it is none of the task's.
            await stream.write(encoded(None, "error", fields))
        await stream.end()

    async def _happening(self, heard: asyncio.Event) -> AsyncIterator[TaskEvent]:
        after = self._after
        while True:
            try:
                events, is_over = await self._tasks.store.events(self._task.id, after=after, limit=EVENTS_AT_ONCE)
            except StateUnavailableError as error:
                raise ProblemError(STATE_UNAVAILABLE, f"The database of the tasks fails: {error}.") from None
            for event in events:
                yield event
                after = event.id
            if len(events) == EVENTS_AT_ONCE:
                continue
            if is_over:
                return
            # Before the wait, which nobody ends any more.
            if self._lifecycle.phase is Phase.DRAINING:
                raise ProblemError(SHUTTING_DOWN, "Go on with another replica, from Last-Event-ID.", retry_after=1)
            await heard_within(heard, self._tasks.bell.pause)


def _shown(event: TaskEvent) -> dict[str, Any]:
    fields = dict(event.fields)
    if "at" in fields:
        fields["at"] = moment(fields["at"])
    return fields


def _principal(request: Request) -> str:
    context = context_of(request.scope)
    context.protocol = PROTOCOL
    return context.principal or ""


async def _require_conversation(store: ConversationStore, principal: str, agent: str, conversation_id: str) -> None:
    if await store.load(principal, agent, conversation_id) is None:
        raise ProblemError(
            CONVERSATION_NOT_FOUND,
            "It has ended, or was never yours with this agent; leave conversation_id out for a new one.",
        )


def _named(part: str) -> str:
    """A part of a path that can be an id; anything may stand there, and a database does not take everything.

    Raises:
        ProblemError: it can be none.
    """
    if _ID.fullmatch(part):
        return part
    raise task_not_found()


async def _found(looked_for: Awaitable[T | None]) -> T:
    """What a store returns of a task of the caller's own.

    Raises:
        ProblemError: there is no such task, or it does not take this.
    """
    with problems_of_tasks():
        if found := await looked_for:
            return found
    raise task_not_found()
