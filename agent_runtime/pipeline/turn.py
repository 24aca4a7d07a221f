"""A turn: one message to one agent and its answer, the same for every protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from agent_runtime.agent.model import Block, Content, Message, TextDelta, Usage
from agent_runtime.config import AgentConfig
from agent_runtime.pipeline.context import RequestContext
from agent_runtime.pipeline.departure import Departure

PRIORITY = 5
"""Of a batch or a task that asks for none, from 1, which can wait, to 10."""


Decision = Literal["approve", "deny"]


@dataclass(frozen=True, slots=True)
class CalledTool:
    """A call of a tool that has ended."""

    id: str
    name: str
    """As the model knows it."""
    input: dict[str, Any]
    outcome: str
    """``ok``, or what went wrong."""
    seconds: float | None
    """None: the provider made it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A page that an answer has its facts from."""

    url: str
    title: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a turn has come: what it needs to go on in another process."""

    messages: tuple[Message, ...]
    """Of this turn, the caller's first."""
    usage: Usage = field(default_factory=Usage)
    """Of its model calls so far."""
    cost_microdollars: int | None = 0
    """Of the same; None: a model that answered has no price."""
    tool_calls: tuple[CalledTool, ...] = ()
    """Those that have ended, in that order."""
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    """What people decided on calls that need approval, by the calls' ids."""
    begun: bool = False
    """Whether the calls of the last message may have been made, though their results are not there."""

    def dumps(self) -> str:
        """As JSON, for a database."""
        return orjson.dumps(self).decode()

    @classmethod
    def loads(cls, text: str) -> Progress:
        """From what `dumps` made."""
        raw = orjson.loads(text)
        return cls(
            tuple(Message(message["role"], _content(message["content"])) for message in raw["messages"]),
            Usage(**raw["usage"]),
            raw["cost_microdollars"],
            tuple(CalledTool(**call) for call in raw["tool_calls"]),
            raw["decisions"],
            raw["begun"],
        )


def _content(raw: str | list[Block]) -> Content:
    return raw if isinstance(raw, str) else tuple(raw)


class ApprovalNeeded(Exception):  # noqa: N818 - nothing is wrong
    """A turn can go on only when people have decided on some of its calls.

    Args:
        progress: where it goes on, with their decisions.
        calls: the tool_use blocks to decide on.
    """

    def __init__(self, progress: Progress, calls: tuple[Block, ...]) -> None:
        super().__init__("tools are to be called that need approval")
        self.progress = progress
        self.calls = calls


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
    streamed: bool = False
    """Whether the caller is told what happens as it happens, and so the id of a new conversation before the end."""
    batch_priority: int | None = None
    """Of the batch that it is part of, among batches; None: it is a request of its own."""
    progress: Progress | None = None
    """Where to go on; None: at the beginning."""
    reserve: Callable[[str], Awaitable[None]] | None = None
    """Keeps everybody else out of a new conversation until the turn ends; for the moment before its id is known."""
    save: Callable[[Progress], Awaitable[None]] | None = None
    """Keeps the progress after each step: a model call that leads to another, and the tools that it asked for."""


@dataclass(frozen=True, slots=True)
class TurnStarted:
    """The model has begun to answer: from here on the caller can be answered."""

    conversation_id: str | None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool is called."""

    id: str
    name: str
    """As the model knows it."""
    input: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A call of a tool has ended."""

    id: str
    name: str
    outcome: str
    """``ok``, or what went wrong."""
    seconds: float | None
    """None: the provider made it."""


@dataclass(frozen=True, slots=True)
class TurnResult:
    """The complete answer."""

    conversation_id: str | None
    text: str
    """What the model said since the last results of tools."""
    model: str
    stop_reason: str
    usage: Usage
    """Of all model calls together."""
    cost_microdollars: int | None
    """None: a model that answered has no price."""
    tool_calls: tuple[CalledTool, ...] = ()
    sources: tuple[Source, ...] = ()


TurnEvent = TurnStarted | TextDelta | ToolCall | ToolResult
Emit = Callable[[TurnEvent], Awaitable[None]]
"""Takes what happens in a turn, in order: one TurnStarted, then text and tools. Its result is returned, not told."""
Handler = Callable[[Turn, Emit], Coroutine[Any, Any, TurnResult]]
"""Answers a turn; raises ProblemError where it cannot, and ApprovalNeeded where people must decide first."""
Stage = Callable[[Handler], Handler]
