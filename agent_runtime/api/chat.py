"""The chat API: /v1/chat answers with one JSON document or with server-sent events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent_runtime.agent.model import TextDelta
from agent_runtime.api.errors import AGENT_NOT_FOUND, INTERNAL_ERROR, ProblemError
from agent_runtime.api.event_stream import EventStream
from agent_runtime.api.input import read_json
from agent_runtime.config import AgentConfig, RuntimeConfig
from agent_runtime.pipeline.context import context_of
from agent_runtime.pipeline.interruption import ClientGoneError
from agent_runtime.pipeline.turn import Handler, Turn, TurnEvent, TurnResult

_log = structlog.get_logger()

PROTOCOL = "chat"
"""Label of this API in the metrics."""

_Name = Annotated[str, StringConstraints(max_length=253)]
_MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_MetadataValue = Annotated[str, StringConstraints(max_length=512)]


class ChatRequest(BaseModel):
    """What a caller sends; unknown fields are refused, since a misspelt one would be ignored in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    message: Annotated[str, StringConstraints(pattern=r"\S")]
    conversation_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")] | None = None
    agent: _Name | None = None
    stream: bool | None = None
    store: bool = True
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=16)] | None = None
    """Comes back in the answer, for callers who have to match the two."""

    @model_validator(mode="after")
    def _store_or_forget(self) -> ChatRequest:
        if self.conversation_id is not None and not self.store:
            raise ValueError("store: false has no conversation; leave conversation_id out")
        return self


def chat_routes(config: RuntimeConfig, handler: Handler) -> APIRouter:
    """The routes of the chat API in front of `handler`."""
    agents = {agent.name: agent for agent in config.agents}
    router = APIRouter()

    @router.post("/v1/chat")
    async def chat(request: Request) -> Response:
        ask = await read_json(request, ChatRequest)
        stream = ask.stream
        if stream is None:
            stream = "text/event-stream" in request.headers.get("accept", "")
        return _ChatResponse(request, ask, _agent(ask), handler, stream=stream)

    @router.post("/v1/chat/stream")
    async def chat_stream(request: Request) -> Response:
        ask = await read_json(request, ChatRequest)
        return _ChatResponse(request, ask, _agent(ask), handler, stream=True)

    def _agent(ask: ChatRequest) -> AgentConfig:
        name = config.default_agent if ask.agent is None else ask.agent
        try:
            return agents[name]
        except KeyError:
            raise ProblemError(AGENT_NOT_FOUND, f"This service has the agents {', '.join(agents)}.") from None

    return router


class _ChatResponse(Response):
    """Runs the turn while it answers: only here is the connection at hand, which tells when the caller leaves."""

    def __init__(
        self, request: Request, ask: ChatRequest, agent: AgentConfig, handler: Handler, *, stream: bool
    ) -> None:
        super().__init__()
        context = context_of(request.scope)
        context.protocol = PROTOCOL
        context.agent = agent.name
        context.message_length = len(ask.message)
        self._ask = ask
        self._handler = handler
        self._stream = stream
        self._created_at = datetime.now(UTC)
        self._context = context
        self._agent = agent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        turn = Turn(
            context=self._context,
            receive=receive,
            principal=self._context.principal or "",
            agent=self._agent,
            content=self._ask.message,
            conversation_id=self._ask.conversation_id,
            store=self._ask.store,
        )
        if self._stream:
            await self._send_events(turn, scope, send)
        else:
            await self._send_document(turn, scope, receive, send)

    async def _send_document(self, turn: Turn, scope: Scope, receive: Receive, send: Send) -> None:
        async def keep_nothing(_: TurnEvent) -> None:
            """The result has the whole text."""

        result = await self._handler(turn, keep_nothing)
        document = {**self._heading(result.conversation_id), "message": result.text, **self._ending(result)}
        document["usage"] = result.usage.document()
        response = Response(
            orjson.dumps(document), media_type="application/json", headers={"Cache-Control": "no-store"}
        )
        await response(scope, receive, send)

    async def _send_events(self, turn: Turn, scope: Scope, send: Send) -> None:
        stream = EventStream(send)

        async def emit(event: TurnEvent) -> None:
            if isinstance(event, TextDelta):
                await stream.event("delta", {"text": event.text})
            else:
                await stream.event("start", self._heading(event.conversation_id))

        try:
            async with stream.kept_alive():
                result = await self._handler(turn, emit)
            done = {**self._heading(result.conversation_id), **self._ending(result)}
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
            failure = ProblemError(INTERNAL_ERROR, "The log of the runtime has the reason under this request_id.")
            last = [self._failure(failure, scope)]
        await stream.end(*last)

    def _failure(self, problem: ProblemError, scope: Scope) -> tuple[str, dict[str, Any]]:
        """The event that tells the problem, which is noted as the outcome of the request."""
        self._context.fail(problem.kind.status, problem.kind.code)
        # `type` is taken by the type of the event; `code` says the same.
        document = problem.document(path=scope["path"], request_id=self._context.request_id)
        fields = {name: value for name, value in document.items() if name != "type"}
        return "error", fields

    def _heading(self, conversation_id: str | None) -> dict[str, Any]:
        return {
            "request_id": self._context.request_id,
            "conversation_id": conversation_id,
            "agent": self._agent.name,
            "created_at": self._created_at.isoformat(timespec="milliseconds"),
        }

    def _ending(self, result: TurnResult) -> dict[str, Any]:
        ending: dict[str, Any] = {
            "stop_reason": result.stop_reason,
            "model": result.model,
            "latency_ms": round(self._context.elapsed() * 1000),
        }
        if self._ask.metadata is not None:
            ending["metadata"] = self._ask.metadata
        return ending
