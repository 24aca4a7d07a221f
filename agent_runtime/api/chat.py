"""The chat API: /v1/chat answers with one JSON document or with server-sent events."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import structlog
from fastapi import APIRouter, Request
from pydantic import ConfigDict, StrictBool
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent_runtime.api.answer import Answer, unexpected
from agent_runtime.api.answers import ChatAnswer, ChatEvent, TaskDocument
from agent_runtime.api.ask import ASK_PROBLEMS, STORE_OR_FORGET, Agents, Ask, turn_of
from agent_runtime.api.errors import (
    INVALID_INPUT,
    RUN_CANCELED,
    STATE_UNAVAILABLE,
    TASK_NOT_FOUND,
    TOO_MANY_FOLLOWERS,
    ProblemError,
)
from agent_runtime.api.event_stream import EventStream
from agent_runtime.api.followers import Followers
from agent_runtime.api.input import read_json
from agent_runtime.api.live_runs import LiveRun, LiveRuns
from agent_runtime.api.openapi import operation
from agent_runtime.api.runs import RunResponse
from agent_runtime.api.tasks import Tasks
from agent_runtime.config import AgentConfig
from agent_runtime.pipeline.context import CLIENT_CLOSED_REQUEST, RequestContext, context_of
from agent_runtime.pipeline.departure import Departure
from agent_runtime.pipeline.idempotency import REPLAYED, Claim, Idempotency, replay
from agent_runtime.pipeline.interruption import ClientGoneError, Turns, while_present
from agent_runtime.pipeline.telemetry import note
from agent_runtime.pipeline.turn import ApprovalNeeded, Emit, Handler, Turn, TurnEvent
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.idempotency import KeptAnswer

_log = structlog.get_logger()


class StreamRequest(Ask):
    """What a caller sends for a stream."""

    stream: StrictBool | None = None
    on_disconnect: Literal["cancel", "continue"] = "cancel"
    """What becomes of a stream whose caller leaves."""


class ChatRequest(StreamRequest):
    """What a caller sends for a document, or for a stream."""

    model_config = ConfigDict(
        json_schema_extra={
            **STORE_OR_FORGET,
            "if": {"properties": {"on_disconnect": {"const": "continue"}}, "required": ["on_disconnect"]},
            "then": {"properties": {"stream": {"const": True}}, "required": ["stream"]},
        }
    )


@dataclass(frozen=True)
class Chat:
    """What answers callers: agents behind the pipeline, and where answers are kept for those who come back."""

    agents: Agents
    handler: Handler
    turns: Turns
    runs: LiveRuns
    idempotency: Idempotency
    tasks: Tasks
    followers: Followers


def chat_routes(chat: Chat) -> APIRouter:
    """The routes of the chat API."""
    router = APIRouter(tags=["Chat"])

    problems = [*ASK_PROBLEMS, TASK_NOT_FOUND, TOO_MANY_FOLLOWERS]
    asked: dict[str, Any] = {"idempotent": True, "events": ChatEvent, "problems": problems}
    described = operation("Ask an agent", body=ChatRequest, answer=ChatAnswer, accepted=TaskDocument, **asked)

    @router.post("/v1/chat", **described)
    async def chat_(request: Request) -> Response:
        ask = await read_json(request, ChatRequest)
        stream = ask.stream
        if stream is None:
            stream = "text/event-stream" in request.headers.get("accept", "")
        return await answer(request, ask, stream=stream)

    @router.post("/v1/chat/stream", **operation("Ask an agent for a stream", body=StreamRequest, **asked))
    async def chat_stream(request: Request) -> Response:
        return await answer(request, await read_json(request, StreamRequest), stream=True)

    async def answer(request: Request, ask: StreamRequest, *, stream: bool) -> Response:
        agent = chat.agents.asked(ask)
        if ask.on_disconnect == "continue" and not stream:
            fault = {"pointer": "/on_disconnect", "detail": "only a stream can continue; ask for one"}
            raise ProblemError(INVALID_INPUT, f"/on_disconnect: {fault['detail']}", errors=[fault])
        key = await chat.idempotency.claim(request)
        if isinstance(key, KeptAnswer):
            return await _replayed(chat, key, context_of(request.scope).principal or "")
        if not stream:
            return _DocumentResponse(chat, request, ask, agent, key)
        if key is None and ask.on_disconnect == "cancel":
            return _StreamResponse(chat, request, ask, agent)
        return _KeptStreamResponse(chat, request, ask, agent, key)

    return router


async def _replayed(chat: Chat, kept: KeptAnswer, principal: str) -> Response:
    if kept.task_id is not None:
        return await chat.tasks.replayed(principal, kept.task_id)
    if kept.run_id is not None:
        return RunResponse(chat.runs, chat.turns, chat.followers, kept.run_id, after=0, headers=REPLAYED)
    return replay(kept.body or "")


class _ChatResponse(Response):
    """Runs the turn while it answers: only here is the connection at hand, which tells when the caller leaves."""

    def __init__(
        self, chat: Chat, request: Request, ask: StreamRequest, agent: AgentConfig, key: Claim | None = None
    ) -> None:
        super().__init__()
        self._chat = chat
        self._context = context_of(request.scope)
        self._ask = ask
        self._agent = agent
        self._key = key

    async def _last_events(self, answer: Answer, turn: Turn, emit: Emit) -> list[tuple[str, dict[str, Any]]]:
        """Carry a turn out; the end of its stream."""
        try:
            return answer.last_events(await self._chat.handler(turn, emit))
        except ApprovalNeeded as needed:
            task = await self._chat.tasks.adopt(turn, needed, self._ask.metadata)
            return answer.handed_over(self._chat.tasks.document(task))


class _DocumentResponse(_ChatResponse):
    """One JSON document."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._key or nullcontext(), Departure(receive) as departure:
            response = await self._response(departure)
        await response(scope, receive, send)

    async def _response(self, departure: Departure) -> Response:
        answer = Answer(self._ask, self._agent, self._context)
        turn = turn_of(self._ask, self._agent, self._context, departure)
        try:
            document = orjson.dumps(answer.document(await self._chat.handler(turn, keep_nothing)))
        except ApprovalNeeded as needed:
            return self._chat.tasks.accepted(
                await self._chat.tasks.adopt(turn, needed, self._ask.metadata, key=self._key)
            )
        if self._key is not None:
            await self._key.keep(document)
        return Response(document, media_type="application/json", headers={"Cache-Control": "no-store"})


class _StreamResponse(_ChatResponse):
    """Events that nobody keeps, sent as they happen."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = Answer(self._ask, self._agent, self._context, run_id=uuid.uuid4().hex)
        stream = EventStream(send)

        async def emit(event: TurnEvent) -> None:
            await stream.event(*answer.told(event))

        try:
            async with Departure(receive) as departure, stream.kept_alive():
                turn = turn_of(self._ask, self._agent, self._context, departure, streamed=True)
                last = await self._last_events(answer, turn, emit)
        except ProblemError as problem:
            if not stream.started:
                raise
            last = [answer.failure(problem, scope["path"])]
        except ClientGoneError:
            raise
        except Exception:  # the status is sent: an event is the only way left to tell the caller
            if not stream.started:
                raise
            _log.exception("unexpected failure")
            last = [answer.failure(unexpected(), scope["path"])]
        await stream.end(*last)


class _KeptStreamResponse(_ChatResponse):
    """Events that are kept; the turn is a task of its own, and this caller the first of its readers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        run = LiveRun(uuid.uuid4().hex, self._context.principal or "")
        stream = EventStream(send)
        async with Departure(receive) as departure:
            ends_turn = departure if self._ask.on_disconnect == "cancel" else None
            try:
                await self._chat.runs.start(run, lambda: self._carry_out(run, ends_turn, scope))
            except StateUnavailableError as error:
                raise ProblemError(STATE_UNAVAILABLE, f"The database of the runs fails: {error}.") from None
            async with while_present(departure), stream.kept_alive():
                async for events in run.read(0):
                    if run.problem is not None and not stream.started:
                        raise run.problem
                    await stream.write(events)
        await stream.end()

    async def _carry_out(self, run: LiveRun, departure: Departure | None, scope: Scope) -> None:
        context = RequestContext(self._context.request_id, principal=self._context.principal)
        answer = Answer(self._ask, self._agent, context, run_id=run.id)

        async def emit(event: TurnEvent) -> None:
            run.emit(*answer.told(event))

        async with self._key or nullcontext():
            try:
                turn = turn_of(self._ask, self._agent, context, departure, streamed=True)
                last = await self._last_events(answer, turn, emit)
                context.status = 200
                for event in last:
                    run.emit(*event)
                if self._key is not None:
                    await self._key.keep_run(run.id)
            except ProblemError as problem:
                run.fail(problem, answer.failure(problem, scope["path"]))
            except ClientGoneError:
                canceled = ProblemError(RUN_CANCELED, "Send on_disconnect: continue for a run that goes on.")
                run.fail(canceled, answer.failure(canceled, scope["path"]))
                context.fail(CLIENT_CLOSED_REQUEST, "client_closed")
            except Exception:  # noqa: BLE001 - the log tells; readers get an event
                _log.exception("unexpected failure")
                run.fail(unexpected(), answer.failure(unexpected(), scope["path"]))
            finally:
                note(scope, context, run_id=run.id)


async def keep_nothing(_: TurnEvent) -> None:
    """For a caller who gets one document: the result has the whole text."""
