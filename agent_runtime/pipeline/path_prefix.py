"""Stage: a path prefix by which a proxy in front tells services apart is cut off."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send


def path_prefix(prefix: str) -> Callable[[ASGIApp], ASGIApp]:
    """Serve below `prefix` what is served without it, so that a proxy need not rewrite paths, and may.

    A path that is one of our own as it is wins, so no prefix can hide a route.

    Args:
        prefix: such as ``/support``, without a slash at its end.
    """

    def wrap(app: ASGIApp) -> ASGIApp:
        async def stage(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope["path"]
            if (path == prefix or path.startswith(f"{prefix}/")) and not _is_ours(scope):
                scope = {**scope, "path": path.removeprefix(prefix) or "/"}
            await app(scope, receive, send)

        return stage

    return wrap


def _is_ours(scope: Scope) -> bool:
    return any(route.matches(scope)[0] is not Match.NONE for route in scope["app"].routes)
