"""Stage: no request makes the runtime hold more than a known number of bytes, or wait for them for ever."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.api.errors import BODY_TIMEOUT, BODY_TOO_LARGE, ProblemError

BODY_LIMIT_BYTES = 1024 * 1024
BODY_DEADLINE_SECONDS = 30.0


def body_limit(app: ASGIApp) -> ASGIApp:
    """Refuse a body that says it is larger than 1 MiB, or turns out to be, or does not arrive within 30 s."""

    async def stage(scope: Scope, receive: Receive, send: Send) -> None:
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdecimal() or int(declared) > BODY_LIMIT_BYTES:
            raise _too_large()
        received = 0
        complete = False
        deadline = asyncio.get_running_loop().time() + BODY_DEADLINE_SECONDS

        async def receive_limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise ProblemError(
                    BODY_TIMEOUT,
                    f"The body was not complete after {BODY_DEADLINE_SECONDS:.0f} s.",
                    headers={"Connection": "close"},
                ) from None
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                complete = not message.get("more_body", False)
                if received > BODY_LIMIT_BYTES:
                    raise _too_large()
            return message

        await app(scope, receive_limited, send)

    return stage


def _too_large() -> ProblemError:
    # The rest of the body is still on its way: on an open connection the server would have to read all of it.
    return ProblemError(
        BODY_TOO_LARGE, f"At most {BODY_LIMIT_BYTES} bytes are accepted.", headers={"Connection": "close"}
    )
