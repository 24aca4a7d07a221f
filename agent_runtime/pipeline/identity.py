"""Stage: who is calling, by API key."""

from __future__ import annotations

from collections.abc import Callable, Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from agent_runtime.api.errors import UNAUTHENTICATED, ProblemError
from agent_runtime.api_keys import ApiKeys
from agent_runtime.pipeline.context import context_of

OPEN_PATHS = frozenset({"/health/live", "/health/ready"})
"""What never needs a key."""
_BEARER = "bearer "


def identity(keys: ApiKeys, *, open_paths: Collection[str]) -> Callable[[ASGIApp], ASGIApp]:
    """Let only callers with a valid key pass; the name of the client that it belongs to is the principal.

    Args:
        keys: of the clients.
        open_paths: what needs no key.
    """

    def wrap(app: ASGIApp) -> ASGIApp:
        async def stage(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] not in open_paths:
                key = _presented_key(Headers(scope=scope))
                principal = await keys.principal_of(key) if key else None
                if principal is None:
                    reason = "This key is not valid." if key else "No key was sent."
                    raise ProblemError(
                        UNAUTHENTICATED,
                        f"{reason} Send one in X-API-Key or Authorization: Bearer.",
                        headers={"WWW-Authenticate": 'Bearer realm="agentservice"'},
                    )
                context_of(scope).principal = principal
            await app(scope, receive, send)

        return stage

    return wrap


def _presented_key(headers: Headers) -> str:
    if key := headers.get("x-api-key"):
        return key
    authorization = headers.get("authorization", "")
    if authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return ""
