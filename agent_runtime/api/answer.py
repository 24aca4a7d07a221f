"""What a caller is told of a turn: one document, or its beginning and its end in a stream."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from agent_runtime.api.ask import Ask
from agent_runtime.api.content import text_length
from agent_runtime.api.errors import INTERNAL_ERROR, ProblemError
from agent_runtime.config import AgentConfig
from agent_runtime.cost import usd
from agent_runtime.pipeline.context import RequestContext
from agent_runtime.pipeline.turn import TurnResult

PROTOCOL = "chat"
"""Label of this API in the metrics."""


class Answer:
    """The answer to one message.

    Args:
        ask: what is answered.
        agent: who answers.
        context: of the request; learns what it is about.
    """

    def __init__(self, ask: Ask, agent: AgentConfig, context: RequestContext) -> None:
        context.protocol = PROTOCOL
        context.agent = agent.name
        context.message_length = text_length(ask.message)
        self._ask = ask
        self._agent = agent
        self._context = context
        self._created_at = datetime.now(UTC)

    def document(self, result: TurnResult) -> dict[str, Any]:
        """All of it."""
        return {
            **self.heading(result.conversation_id),
            "message": result.text,
            **self.ending(result),
            "usage": result.usage.document(),
        }

    def heading(self, conversation_id: str | None) -> dict[str, Any]:
        """What is known at its beginning."""
        return {
            "request_id": self._context.request_id,
            "conversation_id": conversation_id,
            "agent": self._agent.name,
            "created_at": self._created_at.isoformat(timespec="milliseconds"),
        }

    def ending(self, result: TurnResult) -> dict[str, Any]:
        """What is known at its end, but for the usage."""
        ending: dict[str, Any] = {
            "tool_calls": [asdict(call) for call in result.tool_calls],
            "stop_reason": result.stop_reason,
            "model": result.model,
            "cost_usd": usd(result.cost_microdollars),
            "latency_ms": round(self._context.elapsed() * 1000),
        }
        if self._ask.metadata is not None:
            ending["metadata"] = self._ask.metadata
        return ending

    def problem(self, problem: ProblemError, path: str) -> dict[str, Any]:
        """What there is in its place, noted as the outcome of the request to `path`."""
        self._context.fail(problem.kind.status, problem.kind.code)
        return problem.document(path=path, request_id=self._context.request_id)


def unexpected() -> ProblemError:
    """The problem for a failure that nobody thought of, and that has been logged."""
    return ProblemError(INTERNAL_ERROR, "The log of the runtime has the reason under this request_id.")
