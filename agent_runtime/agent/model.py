"""Models as the agent sees them, whatever the provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, Protocol

from agent_runtime.agent.health import ModelHealth
from agent_runtime.api.errors import ProblemKind


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; the four kinds don't overlap."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    def by_kind(self) -> Iterable[tuple[str, int]]:
        """The kinds as metrics name them, with their counts."""
        yield "input", self.input
        yield "output", self.output
        yield "cache_read", self.cache_read
        yield "cache_write", self.cache_write

    def document(self) -> dict[str, int]:
        """As answers and logs show it."""
        return {f"{kind}_tokens": count for kind, count in self.by_kind()}


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a model is asked."""

    system: str
    messages: tuple[Message, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A further piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The end of an answer."""

    model: str
    """Name of the model that answered, as the provider says it."""
    stop_reason: str
    usage: Usage


ModelEvent = TextDelta | Completed


class Provider(Protocol):
    """A way to reach one model."""

    retires: date | None
    """The day from which the provider no longer serves the model, as far as it has been announced."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask once: any number of TextDelta, then one Completed.

        Closing the generator closes the connection to the provider at once.

        Raises:
            ModelCallError: the call failed.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections and tasks."""
        ...


class ModelCallError(Exception):
    """One try of a model call failed.

    Args:
        kind: the problem that a caller would see.
        detail: one sentence for callers, without secrets.
        retryable: whether another try may succeed, as long as nothing of the answer has been seen.
        retry_after: seconds that the provider asks to wait.
    """

    def __init__(
        self, kind: ProblemKind, detail: str, *, retryable: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retryable = retryable
        self.retry_after = retry_after


@dataclass(frozen=True)
class Model:
    """A model under the handle that agents use."""

    name: str
    provider: Provider
    max_tokens: int
    first_token_timeout_seconds: float
    retries: int
    health: ModelHealth = field(default_factory=ModelHealth)
