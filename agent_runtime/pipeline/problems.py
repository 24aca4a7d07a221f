"""Stage: what the stages behind it raise becomes an answer."""

from __future__ import annotations

import orjson
import structlog
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.api.errors import INTERNAL_ERROR, ProblemError
from agent_runtime.pipeline.context import CLIENT_CLOSED_REQUEST, context_of
from agent_runtime.pipeline.interruption import ClientGoneError

_MEDIA_TYPE = "application/problem+json"

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
            await _response(scope, problem)(scope, receive, send)
        except ClientGoneError:
            context_of(scope).fail(CLIENT_CLOSED_REQUEST, "client_closed")
        except Exception:  # the border of the application: whatever failed, the caller gets an answer
            _log.exception("unexpected failure")
            if started:
                # The answer is cut; only closing the connection tells the caller, and raising makes the server do that.
                context_of(scope).fail(INTERNAL_ERROR.status, INTERNAL_ERROR.code)
                raise
            failure = ProblemError(INTERNAL_ERROR, "The log of the runtime has the reason under this request_id.")
            await _response(scope, failure)(scope, receive, send)

    return stage


def _response(scope: Scope, problem: ProblemError) -> Response:
    """The whole answer to the request of `scope`; also notes the problem for the log line and the metrics."""
    kind, context = problem.kind, context_of(scope)
    context.fail(kind.status, kind.code)
    headers = dict(problem.headers)
    if problem.retry_after is not None:
        headers["Retry-After"] = str(problem.retry_after)
    if not kind.repeatable:
        headers["x-should-retry"] = "false"
    document = problem.document(path=scope["path"], request_id=context.request_id)
    return Response(orjson.dumps(document), status_code=kind.status, headers=headers, media_type=_MEDIA_TYPE)
