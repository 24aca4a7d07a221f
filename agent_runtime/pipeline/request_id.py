"""Stage: the request gets its id and context, the answer the headers that all answers have."""

from __future__ import annotations

import re
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.pipeline.context import RequestContext, attach

# An id from outside ends up in logs, headers and problem documents: nothing in it may need quoting anywhere.
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def request_id(app: ASGIApp) -> ASGIApp:
    """Keep a valid X-Request-ID of the caller or make one, and send it back, with the time taken until then."""

    async def stage(scope: Scope, receive: Receive, send: Send) -> None:
        given = Headers(scope=scope).get("x-request-id", "")
        context = RequestContext(request_id=given if _ACCEPTED.fullmatch(given) else uuid.uuid4().hex)
        attach(scope, context)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = context.request_id
                headers["X-Process-Time"] = f"{context.elapsed():.6f}"
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=context.request_id):
            await app(scope, receive, send_with_headers)

    return stage
