"""Tools as the agent loop sees them, whatever their type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

from agent_runtime.agent.model import Block

Outcome = Literal["ok", "error", "timeout", "invalid_input", "unknown_tool", "unavailable", "denied", "outcome_unknown"]
"""How a call ended. ``outcome_unknown``: what it was to do may be done or not, and doing it again could harm."""


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a tool returned, as long as the model may see it."""

    text: str
    is_error: bool = False
    """Whether the tool itself says that it failed."""


class ToolCallError(Exception):
    """A call has no output.

    Args:
        outcome: how it ended.
        detail: one sentence for the model, without secrets.
    """

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail


class Tool(Protocol):
    """Something that the model can call."""

    source: str
    """Name of the tool in the AgentService, by which it is measured."""
    definition: Block
    """As the Messages API describes tools; its ``name`` is the one that the model calls."""
    timeout_seconds: float
    needs_approval: bool
    """Whether a person is asked before each call."""
    repeatable: bool
    """Whether a call does no harm when it is made twice."""

    async def call(self, arguments: dict[str, Any], *, call_id: str) -> ToolOutput:
        """Do it; the caller has a deadline.

        Args:
            arguments: as the model wrote them, not checked.
            call_id: of this call and its repetitions, and of no other.

        Raises:
            ToolCallError: there is no output.
        """
        ...


class ToolSource(Protocol):
    """A tool of the AgentService: one that models can call, or a server of many."""

    fault: str | None
    """Why it offers nothing now, or nothing new; None: it is well, as far as it is known."""

    async def offered(self) -> tuple[Tool, ...]:
        """What models can call now. Never raises, and takes no longer than a look at a server."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...
