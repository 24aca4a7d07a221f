"""What a caller is told of a turn: one document, or its beginning and its end in a stream."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from agent_runtime.agent.model import TextDelta
from agent_runtime.api.ask import Ask
from agent_runtime.api.content import text_length
from agent_runtime.api.errors import INTERNAL_ERROR, ProblemError
from agent_runtime.config import AgentConfig
from agent_runtime.cost import usd
from agent_runtime.pipeline.context import RequestContext
from agent_runtime.pipeline.turn import ToolCall, ToolResult, TurnEvent, TurnResult, TurnStarted

PROTOCOL = "chat"
"""Label of this API in the metrics."""


class Answer:
    """The answer to one message.

    Args:
        ask: what is answered.
        agent: who answers.
        context: of the request; learns what it is about.
        run_id: of the run, if it is a stream.
    """

    def __init__(self, ask: Ask, agent: AgentConfig, context: RequestContext, *, run_id: str | None = None) -> None:
        context.protocol = PROTOCOL
        context.agent = agent.name
        context.message_length = text_length(ask.message)
        self._ask = ask
        self._agent = agent
        self._context = context
        self._run = {} if run_id is None else {"run_id": run_id}
        self._created_at = datetime.now(UTC)
        self._started = False

    def document(self, result: TurnResult) -> dict[str, Any]:
        """All of it."""
        return {
            **self.heading(result.conversation_id),
            "message": result.text,
            **self.ending(result),
            "usage": result.usage.document(),
        }

    def told(self, event: TurnEvent) -> tuple[str, dict[str, Any]]:
        """What happens, as type and data of a server-sent event."""
        match event:
            case TextDelta(text):
                return "delta", {"text": text}
            case TurnStarted(conversation_id):
                self._started = True
                return "start", self.heading(conversation_id)
            case ToolCall():
                return "tool_call", asdict(event)
            case ToolResult():
                return "tool_result", asdict(event)

    def last_events(self, result: TurnResult) -> list[tuple[str, dict[str, Any]]]:
        """The end of a stream."""
        done = {**self.heading(result.conversation_id), **self.ending(result)}
        return [("usage", result.usage.document()), ("done", done)]

    def handed_over(self, task: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """The end of a stream whose turn goes on as a task."""
        heading = self.heading(task["conversation_id"])
        start = [] if self._started else [("start", heading)]
        return [*start, ("task", {**heading, "task": task})]

    def heading(self, conversation_id: str | None) -> dict[str, Any]:
        """What is known at its beginning."""
        return {
            "request_id": self._context.request_id,
            "conversation_id": conversation_id,
            "agent": self._agent.name,
            **self._run,
            "created_at": self._created_at.isoformat(timespec="milliseconds"),
        }

    def ending(self, result: TurnResult) -> dict[str, Any]:
        """What is known at its end, but for the usage."""
        ending: dict[str, Any] = {
            "tool_calls": [asdict(call) for call in result.tool_calls],
            "sources": [asdict(source) for source in result.sources],
            "stop_reason": result.stop_reason,
            "model": result.model,
            "cost_usd": usd(result.cost_microdollars),
            "latency_ms": round(self._context.elapsed() * 1000),
        }
        if self._ask.metadata is not None:
            ending["metadata"] = self._ask.metadata
        return ending

    def failure(self, problem: ProblemError, path: str) -> tuple[str, dict[str, Any]]:
        """The end of a stream that failed, noted as the outcome of the request to `path`."""
        self._context.fail(problem.kind.status, problem.kind.code)
        # `type` is taken by the type of the event; `code` says the same.
        document = problem.document(path=path, request_id=self._context.request_id)
        del document["type"]
        return "error", self._run | document


def unexpected() -> ProblemError:
    """The problem for a failure that nobody thought of, and that has been logged."""
    return ProblemError(INTERNAL_ERROR, "The log of the runtime has the reason under this request_id.")
