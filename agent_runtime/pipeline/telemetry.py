"""Stage: one log line, the metrics and the row of every request, when all is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent_runtime import metrics
from agent_runtime.cost import MICRODOLLARS, usd
from agent_runtime.pipeline.context import RequestContext, context_of
from agent_runtime.state.usage import InteractionLog

_log = structlog.get_logger()

# Asked for every few seconds by load balancers: counted, but not worth a line each.
_QUIET_ROUTES = frozenset({"/health/live", "/health/ready"})
_INTERACTIONS = "agentservice.interactions"


def telemetry(interactions: InteractionLog) -> Callable[[ASGIApp], ASGIApp]:
    """Count, log and keep each request after its last byte, also one whose caller left."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def stage(scope: Scope, receive: Receive, send: Send) -> None:
            context = context_of(scope)
            scope[_INTERACTIONS] = interactions

            async def note_status(message: Message) -> None:
                if message["type"] == "http.response.start" and context.status is None:
                    context.status = message["status"]
                await send(message)

            try:
                await app(scope, receive, note_status)
            finally:
                note(scope, context)

        return stage

    return wrap


def note(scope: Scope, context: RequestContext, **fields: Any) -> None:
    """Count, log and keep a request to `scope`, or a part of one that an agent answers by itself.

    Args:
        scope: where it was sent.
        context: what is known of it.
        fields: further ones of its log line.
    """
    context.route = getattr(scope.get("route"), "path", None) or "other"
    measure(context)
    if context.agent is not None:
        scope[_INTERACTIONS].note(context)
    if context.route not in _QUIET_ROUTES or context.outcome != "ok":
        _write_line(scope, context, fields)


def measure(context: RequestContext) -> None:
    """Count a request whose route is known, or a task."""
    agent, protocol = context.agent or "", context.protocol or ""
    metrics.REQUESTS.labels(agent, protocol, context.route, str(context.status or 0)).inc()
    if context.agent is None:
        return
    metrics.REQUEST_DURATION.labels(agent, protocol).observe(context.elapsed())
    if context.usage is not None and context.model is not None:
        for kind, tokens in context.usage.by_kind():
            metrics.TOKENS.labels(agent, context.model, kind).inc(tokens)
    if context.cost_microdollars is not None and context.model is not None:
        metrics.COST.labels(agent, context.model).inc(context.cost_microdollars / MICRODOLLARS)


def _write_line(scope: Scope, context: RequestContext, more: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "method": scope["method"],
        "route": context.route,
        "status": context.status,
        "outcome": context.outcome,
        "seconds": round(context.elapsed(), 6),
        "principal": context.principal,
        "agent": context.agent,
        "conversation_id": context.conversation_id,
        "model": context.model,
        "message_length": context.message_length,
        "cost_usd": usd(context.cost_microdollars),
    }
    if context.usage is not None:
        fields |= context.usage.document()
    fields |= more
    _log.info("request", **{name: value for name, value in fields.items() if value is not None})
