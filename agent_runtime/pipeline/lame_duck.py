"""Stage: a replica that is about to end sends its callers to another one."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime.lifecycle import Lifecycle


def lame_duck(lifecycle: Lifecycle) -> Callable[[ASGIApp], ASGIApp]:
    """Serve as ever, but close each connection after its answer, once the process has been told to end."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def stage(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_closing(message: Message) -> None:
                if message["type"] == "http.response.start" and lifecycle.leaving:
                    MutableHeaders(scope=message)["Connection"] = "close"
                await send(message)

            await app(scope, receive, send_closing)

        return stage

    return wrap
