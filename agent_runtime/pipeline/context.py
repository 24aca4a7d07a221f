"""What is known about one request; the stages fill it, the log line and the metrics read it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import cast

from starlette.types import Scope

from agent_runtime.agent.model import Usage

_SCOPE_KEY = "agentservice.context"

CLIENT_CLOSED_REQUEST = 499
"""For logs and metrics only: the caller left before its answer. The number that nginx gave it."""


@dataclass(slots=True)
class RequestContext:
    """Facts about one request, None as long as they are not known."""

    request_id: str
    started_at: float = field(default_factory=time.monotonic)
    principal: str | None = None
    route: str | None = None
    protocol: str | None = None
    agent: str | None = None
    conversation_id: str | None = None
    model: str | None = None
    usage: Usage | None = None
    cost_microdollars: int | None = None
    """Of all model calls; None also where one of their models has no price."""
    message_length: int | None = None
    status: int | None = None
    """As sent, or what it would have been, had the failure come before the answer began."""
    outcome: str = "ok"
    """`ok`, `client_closed`, or the code of the problem."""

    def fail(self, status: int, outcome: str) -> None:
        """Note that the request failed."""
        self.status = status
        self.outcome = outcome

    def elapsed(self) -> float:
        """Seconds since the request arrived."""
        return time.monotonic() - self.started_at


def attach(scope: Scope, context: RequestContext) -> None:
    """Make `context` the one of the request of `scope`."""
    scope[_SCOPE_KEY] = context


def context_of(scope: Scope) -> RequestContext:
    """The context of the request of `scope`."""
    return cast("RequestContext", scope[_SCOPE_KEY])
