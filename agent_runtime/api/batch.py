"""Several messages in one call: each has its place in the order, and an answer or a problem of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent_runtime.api.answer import Answer, unexpected
from agent_runtime.api.answers import BatchAnswer
from agent_runtime.api.ask import Agents, Ask, turn_of
from agent_runtime.api.chat import keep_nothing
from agent_runtime.api.content import Text
from agent_runtime.api.errors import ProblemError
from agent_runtime.api.input import NO_TEXT, read_json, refusal
from agent_runtime.api.openapi import operation
from agent_runtime.api.tasks import Tasks
from agent_runtime.pipeline.context import CLIENT_CLOSED_REQUEST, RequestContext, context_of
from agent_runtime.pipeline.departure import Departure
from agent_runtime.pipeline.idempotency import Claim, Idempotency, replay
from agent_runtime.pipeline.interruption import ClientGoneError
from agent_runtime.pipeline.telemetry import note
from agent_runtime.pipeline.turn import PRIORITY, ApprovalNeeded, Handler
from agent_runtime.state.idempotency import KeptAnswer

_log = structlog.get_logger()

MAX_ITEMS = 16
"""Of one batch: none may fill the queue of everybody."""


class BatchRequest(BaseModel):
    """What a caller sends; a faulty item is told in its own place."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    batch_id: Annotated[Text, StringConstraints(max_length=128)] | None = None
    """Comes back in the answer."""
    priority: Annotated[int, Field(ge=1, le=10), NO_TEXT] = PRIORITY
    """Among batches that wait for places; below 5 it waits behind all single requests too."""
    items: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=MAX_ITEMS)]
    """Each as the body of a chat that does not stream."""


def batch_routes(agents: Agents, handler: Handler, idempotency: Idempotency, tasks: Tasks) -> APIRouter:
    """The route of batches in front of `handler`."""
    router = APIRouter(tags=["Chat"])

    described = operation("Ask several times", body=BatchRequest, idempotent=True, answer=BatchAnswer)

    @router.post("/v1/chat/batch", **described)
    async def chat_batch(request: Request) -> Response:
        batch = await read_json(request, BatchRequest)
        key = await idempotency.claim(request)
        if isinstance(key, KeptAnswer):
            return replay(key.body or "")
        return _BatchResponse(request, batch, agents, handler, key, tasks=tasks)

    return router


class _BatchResponse(Response):
    """Runs the items while it answers; a caller who leaves ends all of them."""

    def __init__(
        self,
        request: Request,
        batch: BatchRequest,
        agents: Agents,
        handler: Handler,
        key: Claim | None,
        *,
        tasks: Tasks,
    ) -> None:
        super().__init__()
        self._context = context_of(request.scope)
        self._scope = request.scope
        self._batch = batch
        self._agents = agents
        self._handler = handler
        self._key = key
        self._tasks = tasks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._key or nullcontext():
            document = orjson.dumps(await self._document(receive))
            if self._key is not None:
                await self._key.keep(document)
        response = Response(document, media_type="application/json", headers={"Cache-Control": "no-store"})
        await response(scope, receive, send)

    async def _document(self, receive: Receive) -> dict[str, Any]:
        items: list[dict[str, Any]] = [{}] * len(self._batch.items)

        async def answer_in_turn(indexes: Iterable[int]) -> None:
            for index in indexes:
                items[index] = {"index": index, **await self._answer(index, departure)}

        try:
            async with Departure(receive) as departure, asyncio.TaskGroup() as group:
                for indexes in self._of_one_conversation_each():
                    group.create_task(answer_in_turn(indexes))
        except* ClientGoneError:
            raise ClientGoneError from None
        return {"batch_id": self._batch.batch_id, "status": _status(items), "items": items}

    def _of_one_conversation_each(self) -> Iterable[list[int]]:
        """The items that can be answered side by side; those of one conversation follow each other."""
        groups: dict[Any, list[int]] = {}
        for index, item in enumerate(self._batch.items):
            conversation = item.get("conversation_id")
            key = conversation if isinstance(conversation, str) else index
            groups.setdefault(key, []).append(index)
        return groups.values()

    async def _answer(self, index: int, departure: Departure) -> dict[str, Any]:
        """The answer to one item, or its problem; it is counted and logged like a request of its own."""
        context = RequestContext(self._context.request_id, principal=self._context.principal)
        try:
            ask = Ask.model_validate(self._batch.items[index])
            agent = self._agents.asked(ask)
            answer = Answer(ask, agent, context)
            turn = turn_of(ask, agent, context, departure, batch_priority=self._batch.priority)
            try:
                done = {"status": "completed", "result": answer.document(await self._handler(turn, keep_nothing))}
            except ApprovalNeeded as needed:
                task = await self._tasks.adopt(turn, needed, ask.metadata)
                done = {"status": "awaiting_approval", "task": self._tasks.document(task)}
            context.status = 200
        except ClientGoneError:
            context.fail(CLIENT_CLOSED_REQUEST, "client_closed")
            raise
        except ValidationError as error:
            return self._failed(context, refusal(error, within=f"/items/{index}"))
        except ProblemError as problem:
            return self._failed(context, problem)
        except Exception:  # noqa: BLE001 - one item fails, as the log tells; the others are answered
            _log.exception("unexpected failure")
            return self._failed(context, unexpected())
        else:
            return done
        finally:
            note(self._scope, context, item=index)

    def _failed(self, context: RequestContext, problem: ProblemError) -> dict[str, Any]:
        context.fail(problem.kind.status, problem.kind.code)
        document = problem.document(path=self._scope["path"], request_id=context.request_id)
        if problem.retry_after is not None:
            document["retry_after"] = problem.retry_after
        return {"status": "failed", "problem": document}


def _status(items: list[dict[str, Any]]) -> str:
    outcomes = {item["status"] for item in items}
    return outcomes.pop() if outcomes in ({"completed"}, {"failed"}) else "partial"
