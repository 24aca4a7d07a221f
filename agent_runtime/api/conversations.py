"""The caller's own conversations: a list, what was said in one, and its deletion."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.responses import Response

from agent_runtime.api.answers import ConversationPage, ConversationWithMessages
from agent_runtime.api.ask import CONVERSATION_ID
from agent_runtime.api.errors import (
    CONVERSATION_BUSY,
    CONVERSATION_NOT_FOUND,
    STATE_UNAVAILABLE,
    ProblemError,
)
from agent_runtime.api.input import read_query
from agent_runtime.api.json_response import json_response
from agent_runtime.api.openapi import operation
from agent_runtime.pipeline.context import context_of
from agent_runtime.pipeline.conversation_lock import ConversationLock
from agent_runtime.state.conversation_list import Conversation, ConversationList, Place
from agent_runtime.state.database import StateUnavailableError

_ID = re.compile(CONVERSATION_ID)


class PageQuery(BaseModel):
    """Which part of a list."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,16}\.[0-9a-f]{32}$")] | None = None
    """``next_cursor`` of the page before."""


def conversation_routes(conversations: ConversationList, lock: ConversationLock) -> APIRouter:
    """The routes of conversations. To everybody else than its principal a conversation is not there."""
    router = APIRouter(tags=["Conversations"])

    described = operation(
        "List your conversations", query=PageQuery, answer=ConversationPage, problems=[STATE_UNAVAILABLE]
    )

    @router.get("/v1/conversations", **described)
    async def page(request: Request) -> Response:
        query = read_query(request, PageQuery)
        after = None if query.cursor is None else _place(query.cursor)
        try:
            items, more = await conversations.page(_principal(request), after=after, limit=query.limit)
        except StateUnavailableError as error:
            raise _unavailable(error) from None
        next_cursor = _cursor(items[-1].place) if more else None
        return json_response({"items": [_shown(item) for item in items], "next_cursor": next_cursor})

    of_one = [CONVERSATION_NOT_FOUND, STATE_UNAVAILABLE]
    described = operation("Read a conversation", answer=ConversationWithMessages, problems=of_one)

    @router.get("/v1/conversations/{conversation_id}", **described)
    async def read(request: Request, conversation_id: str) -> Response:
        _check(conversation_id)
        try:
            found = await conversations.read(_principal(request), conversation_id)
        except StateUnavailableError as error:
            raise _unavailable(error) from None
        if found is None:
            raise _not_found()
        conversation, messages = found
        said = [{"role": message.role, "content": message.content} for message in messages]
        return json_response({**_shown(conversation), "messages": said})

    described = operation(
        "Delete a conversation", statuses=[HTTPStatus.NO_CONTENT], problems=[*of_one, CONVERSATION_BUSY]
    )

    @router.delete("/v1/conversations/{conversation_id}", **described)
    async def delete(request: Request, conversation_id: str) -> Response:
        _check(conversation_id)
        principal = _principal(request)
        try:
            # An answer that is on its way would be kept in a conversation that was deleted.
            async with lock.held((principal, conversation_id)):
                deleted = await conversations.delete(principal, conversation_id)
        except StateUnavailableError as error:
            raise _unavailable(error) from None
        if not deleted:
            raise _not_found()
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return router


def _principal(request: Request) -> str:
    return context_of(request.scope).principal or ""


def _check(conversation_id: str) -> None:
    """Anything may stand in a path; only what can be an id is asked for."""
    if not _ID.fullmatch(conversation_id):
        raise _not_found()


def _shown(conversation: Conversation) -> dict[str, Any]:
    used = datetime.fromtimestamp(conversation.place.updated_at / 1000, UTC)
    return {
        "id": conversation.place.id,
        "agent": conversation.agent,
        "updated_at": used.isoformat(timespec="milliseconds"),
    }


def _cursor(place: Place) -> str:
    return f"{place.updated_at}.{place.id}"


def _place(cursor: str) -> Place:
    updated_at, _, conversation_id = cursor.partition(".")
    return Place(int(updated_at), conversation_id)


def _not_found() -> ProblemError:
    # Also for somebody else's: that it exists is nobody's business.
    return ProblemError(CONVERSATION_NOT_FOUND, "It has ended, was deleted, or was never yours.")


def _unavailable(error: StateUnavailableError) -> ProblemError:
    return ProblemError(STATE_UNAVAILABLE, f"The database of the conversations fails: {error}.")
