"""Stage: what the stages behind it raise becomes an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent_runtime.api.errors import INTERNAL_ERROR, ProblemError, problem_response
from agent_runtime.pipeline.context import CLIENT_CLOSED_REQUEST, context_of
from agent_runtime.pipeline.interruption import ClientGoneError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = structlog.get_logger()


def problems(app: ASGIApp) -> ASGIApp:
    """Answer a ProblemError with its document, any other failure with internal_error and a traceback in the log.

    A ClientGoneError is noted and not answered.
    """

    async def stage(scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def note_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await app(scope, receive, note_start)
        except ProblemError as problem:
            await problem_response(scope, problem)(scope, receive, send)
        except ClientGoneError:
            context_of(scope).fail(CLIENT_CLOSED_REQUEST, "client_closed")
        except Exception:  # the border of the application: whatever failed, the caller gets an answer
            _log.exception("unexpected failure")
            if started:
                # The answer is cut; only closing the connection tells the caller, and raising makes the server do that.
                context_of(scope).fail(INTERNAL_ERROR.status, INTERNAL_ERROR.code)
                raise
            failure = ProblemError(INTERNAL_ERROR, "The log of the runtime has the reason under this request_id.")
            await problem_response(scope, failure)(scope, receive, send)

    return stage
