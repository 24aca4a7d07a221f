"""A turn: one message to one agent and its answer, the same for every protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from agent_runtime.agent.model import Content, TextDelta, Usage
from agent_runtime.config import AgentConfig
from agent_runtime.pipeline.context import RequestContext
from agent_runtime.pipeline.departure import Departure

PRIORITY = 5
"""Of a turn that asks for none, from 1, which can wait, to 10."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a caller asks for."""

    context: RequestContext
    principal: str
    agent: AgentConfig
    content: Content
    conversation_id: str | None
    """The conversation to go on with; None: a new one."""
    store: bool
    """Whether the turn is remembered."""
    departure: Departure | None
    """Of the caller, which ends the turn; None: it goes on without one."""
    output_schema: dict[str, Any] | None = None
    """JSON schema that the text of the answer must meet; None: any text."""
    priority: int = PRIORITY
    """Among those who wait for a place, the highest comes first."""


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The model has begun to answer: from here on the caller can be answered."""

    conversation_id: str | None


@dataclass(frozen=True, slots=True)
class TurnResult:
    """The complete answer."""

    conversation_id: str | None
    text: str
    model: str
    stop_reason: str
    usage: Usage
    cost_microdollars: int | None
    """None: a model that answered has no price."""


TurnEvent = TurnStarted | TextDelta
Emit = Callable[[TurnEvent], Awaitable[None]]
"""Takes what happens in a turn, in order: one TurnStarted, then text. Its result is not an event: it is returned."""
Handler = Callable[[Turn, Emit], Coroutine[Any, Any, TurnResult]]
"""Answers a turn; raises ProblemError where it cannot."""
Stage = Callable[[Handler], Handler]
