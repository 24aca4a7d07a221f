"""The ledger of model calls: each is entered before it is made, since it may have to be paid for whatever happens."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from agent_runtime.agent.model import Completed, ModelRequest, Usage
from agent_runtime.api.errors import (
    UPSTREAM_MODEL_NOT_FOUND,
    UPSTREAM_OVERLOADED,
    UPSTREAM_REJECTED,
    UPSTREAM_UNAUTHORIZED,
    UPSTREAM_UNAVAILABLE,
)

_TOOL_TOKENS = 1000
"""What a provider adds to a prompt with tools; Anthropic says up to 804 (tool use, pricing)."""
_FREE = frozenset(
    kind.code
    for kind in (
        UPSTREAM_MODEL_NOT_FOUND,
        UPSTREAM_OVERLOADED,
        UPSTREAM_REJECTED,
        UPSTREAM_UNAUTHORIZED,
        UPSTREAM_UNAVAILABLE,
    )
)
"""How calls end that no provider asks money for, as long as it has not begun to answer."""


@dataclass(slots=True)
class ModelCall:
    """One try of a model call."""

    request_id: str
    principal: str
    agent: str
    model: str
    """The handle that agents use."""
    conversation_id: str | None
    usage: Usage
    """The most that it can be, until the provider has said what it was."""
    is_exact: bool = False
    """Whether the provider has said it, or nothing was asked of it."""
    answered_by: str | None = None
    """Name of the model, as the provider says it."""
    is_answered: bool = False
    """Whether the provider has begun to answer."""
    outcome: str | None = None
    """None while it goes on; then `ok`, `canceled`, or the code of a problem."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    started_at: float = field(default_factory=time.time)
    """Seconds since 1970."""

    def complete(self, completed: Completed) -> None:
        """It was answered."""
        self.outcome = "ok"
        self.usage, self.is_exact, self.answered_by = completed.usage, True, completed.model

    def fail(self, outcome: str) -> None:
        """It was not answered to its end: what it costs remains the most that it can be, unless it was refused."""
        self.outcome = outcome
        if outcome in _FREE and not self.is_answered:
            self.usage, self.is_exact = Usage(), True


class Ledger(Protocol):
    """Where model calls are entered; it keeps nobody waiting, and does not fail."""

    def book(self, call: ModelCall) -> None:
        """Enter a call that is about to be made."""
        ...

    def settle(self, call: ModelCall) -> None:
        """Enter how it ended."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """On whose account calls are made."""

    ledger: Ledger
    request_id: str
    principal: str
    agent: str
    conversation_id: str | None

    def book(self, model: str, request: ModelRequest) -> ModelCall:
        """Enter a call of `model` that is about to be made."""
        call = ModelCall(
            self.request_id, self.principal, self.agent, model, self.conversation_id, usage=most_usage(request)
        )
        self.ledger.book(call)
        return call

    def settle(self, call: ModelCall) -> None:
        """Enter how a call ended."""
        self.ledger.settle(call)


def most_usage(request: ModelRequest) -> Usage:
    """The most that a call can use: no token is shorter than a byte, and the JSON of a message than its frame."""
    sent = orjson.dumps([request.system, request.messages, request.tools, request.output_schema])
    return Usage(input=len(sent) + (_TOOL_TOKENS if request.tools else 0), output=request.max_tokens)
