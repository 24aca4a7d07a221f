"""The application: the Messages API, and paths that begin with an underscore to direct and to watch it.

POST   /_script      a script, or a list of scripts, for the next requests; scripts in a request's own header come first
DELETE /_script      forget the scripts that wait
GET    /_requests    the requests so far: bodies, headers without keys, and when each began, ended, or lost its caller
DELETE /_requests    forget them
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from dev.fake_messages_api import answers
from dev.fake_messages_api.script import Script
from dev.fake_messages_api.validation import fault

_SECRET_HEADERS = frozenset({"x-api-key", "authorization", "cookie"})
_SCRIPTS: TypeAdapter[Script | list[Script]] = TypeAdapter(Script | list[Script])
_MODELS = ("claude-haiku-5-5", "claude-sonnet-5-5", "claude-opus-5-5")


@dataclass
class Record:
    """One request to /v1/messages; times are seconds of the Unix epoch."""

    body: dict[str, Any]
    headers: dict[str, str]
    began: float = field(default_factory=time.time)
    ended: float | None = None
    """When the whole answer had been sent."""
    aborted: float | None = None
    """When the caller left before that."""


@dataclass
class _State:
    scripts: list[Script] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def next_script(self, request: Request) -> Script:
        if header := request.headers.get("x-fake-script"):
            return Script.model_validate_json(header.encode("latin-1"))  # the bytes that were sent, which are UTF-8
        if not self.scripts:
            return Script()
        script = self.scripts[0]
        if script.times == 1:
            del self.scripts[0]
        elif script.times != "always":
            self.scripts[0] = script.model_copy(update={"times": script.times - 1})
        return script


def app() -> ASGIApp:
    """A fake with a state of its own."""
    state = _State()

    async def script(request: Request) -> Response:
        if request.method == "POST":
            scripts = _SCRIPTS.validate_json(await request.body())
            state.scripts += scripts if isinstance(scripts, list) else [scripts]
        else:
            state.scripts.clear()
        return Response(status_code=204)

    async def requests(request: Request) -> Response:
        if request.method == "DELETE":
            state.records.clear()
            return Response(status_code=204)
        return _json([asdict(record) for record in state.records])

    async def count_tokens(request: Request) -> Response:
        return _json({"input_tokens": answers.count_tokens(orjson.loads(await request.body()))})

    async def models(_: Request) -> Response:
        data = [
            {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
            for name in _MODELS
        ]
        return _json({"data": data, "has_more": False, "first_id": _MODELS[0], "last_id": _MODELS[-1]})

    return Starlette(
        routes=[
            Route("/v1/messages", _Messages(state)),
            Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
            Route("/v1/models", models),
            Route("/_script", script, methods=["POST", "DELETE"]),
            Route("/_requests", requests, methods=["GET", "DELETE"]),
        ]
    )


class _Messages:
    """POST /v1/messages, as plain ASGI: only so does it see when its caller leaves."""

    def __init__(self, state: _State) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = orjson.loads(await request.body())
        headers = {name: value for name, value in request.headers.items() if name not in _SECRET_HEADERS}
        record = Record(body, headers)
        self._state.records.append(record)
        script = self._state.next_script(request)
        answer = asyncio.create_task(_answer(script, record, request, send))
        caller = asyncio.create_task(_wait_until_gone(receive))
        try:
            await asyncio.wait({answer, caller}, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                answer.result()
            else:
                record.aborted = time.time()
        finally:
            for task in (answer, caller):
                task.cancel()
            with suppress(asyncio.CancelledError, answers.CutError):
                await answer


async def _answer(script: Script, record: Record, request: Request, send: Send) -> None:
    await asyncio.sleep(script.headers_delay)
    status = script.status if script.valid_key in {None, _key(request)} else HTTPStatus.UNAUTHORIZED
    headers = {"request-id": "req_fake", **script.headers}
    message = "as the script says"
    if status == HTTPStatus.OK and (refusal := fault(record.body)):
        status, message = HTTPStatus.BAD_REQUEST, refusal
    if status != HTTPStatus.OK:
        kind = script.error_type if status == script.status else None
        error = answers.error(kind or answers.ERROR_TYPES.get(status, "api_error"), message)
        response = _json(error, status, headers)
        await response(request.scope, request.receive, send)
    elif record.body.get("stream"):
        headers["content-type"] = "text/event-stream; charset=utf-8"
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        async for chunk in answers.events(script, record.body):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await _json(answers.message(script, record.body), 200, headers)(request.scope, request.receive, send)
    record.ended = time.time()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _key(request: Request) -> str:
    return request.headers.get("x-api-key") or request.headers.get("authorization", "").removeprefix("Bearer ")


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
