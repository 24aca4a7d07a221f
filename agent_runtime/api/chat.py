"""The chat API: /v1/chat answers with one JSON document or with server-sent events."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson
import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent_runtime.agent.model import TextDelta
from agent_runtime.api.answer import Answer, unexpected
from agent_runtime.api.ask import Agents, Ask, turn_of
from agent_runtime.api.errors import ProblemError
from agent_runtime.api.event_stream import EventStream
from agent_runtime.api.input import read_json
from agent_runtime.config import AgentConfig
from agent_runtime.pipeline.context import context_of
from agent_runtime.pipeline.departure import Departure
from agent_runtime.pipeline.interruption import ClientGoneError
from agent_runtime.pipeline.turn import Handler, ToolCall, ToolResult, Turn, TurnEvent, TurnStarted

_log = structlog.get_logger()


class ChatRequest(Ask):
    """What a caller sends."""

    stream: bool | None = None


def chat_routes(agents: Agents, handler: Handler) -> APIRouter:
    """The routes of the chat API in front of `handler`."""
    router = APIRouter()

    @router.post("/v1/chat")
    async def chat(request: Request) -> Response:
        ask = await read_json(request, ChatRequest)
        stream = ask.stream
        if stream is None:
            stream = "text/event-stream" in request.headers.get("accept", "")
        return _ChatResponse(request, ask, agents.asked(ask), handler, stream=stream)

    @router.post("/v1/chat/stream")
    async def chat_stream(request: Request) -> Response:
        ask = await read_json(request, ChatRequest)
        return _ChatResponse(request, ask, agents.asked(ask), handler, stream=True)

    return router


class _ChatResponse(Response):
    """Runs the turn while it answers: only here is the connection at hand, which tells when the caller leaves."""

    def __init__(
        self, request: Request, ask: ChatRequest, agent: AgentConfig, handler: Handler, *, stream: bool
    ) -> None:
        super().__init__()
        self._context = context_of(request.scope)
        self._answer = Answer(ask, agent, self._context)
        self._ask = ask
        self._agent = agent
        self._handler = handler
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with Departure(receive) as departure:
            turn = turn_of(self._ask, self._agent, self._context, departure)
            if self._stream:
                await self._send_events(turn, scope, send)
            else:
                await self._send_document(turn, scope, receive, send)

    async def _send_document(self, turn: Turn, scope: Scope, receive: Receive, send: Send) -> None:
        result = await self._handler(turn, keep_nothing)
        response = Response(
            orjson.dumps(self._answer.document(result)),
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )
        await response(scope, receive, send)

    async def _send_events(self, turn: Turn, scope: Scope, send: Send) -> None:
        stream = EventStream(send)

        async def emit(event: TurnEvent) -> None:
            await stream.event(*self._told(event))

        try:
            async with stream.kept_alive():
                result = await self._handler(turn, emit)
            done = {**self._answer.heading(result.conversation_id), **self._answer.ending(result)}
            last: list[tuple[str, dict[str, Any]]] = [("usage", result.usage.document()), ("done", done)]
        except ProblemError as problem:
            if not stream.started:
                raise
            last = [self._failure(problem, scope)]
        except ClientGoneError:
            raise
        except Exception:  # the status is sent: an event is the only way left to tell the caller
            if not stream.started:
                raise
            _log.exception("unexpected failure")
            last = [self._failure(unexpected(), scope)]
        await stream.end(*last)

    def _told(self, event: TurnEvent) -> tuple[str, dict[str, Any]]:
        """Type and data of a server-sent event."""
        match event:
            case TextDelta(text):
                return "delta", {"text": text}
            case TurnStarted(conversation_id):
                return "start", self._answer.heading(conversation_id)
            case ToolCall():
                return "tool_call", asdict(event)
            case ToolResult():
                return "tool_result", asdict(event)

    def _failure(self, problem: ProblemError, scope: Scope) -> tuple[str, dict[str, Any]]:
        # `type` is taken by the type of the event; `code` says the same.
        document = self._answer.problem(problem, scope["path"])
        return "error", {name: value for name, value in document.items() if name != "type"}


async def keep_nothing(_: TurnEvent) -> None:
    """For a caller who gets one document: the result has the whole text."""
