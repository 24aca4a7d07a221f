"""Models as the agent sees them, whatever the provider."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, Protocol

from agent_runtime.agent.health import ModelHealth
from agent_runtime.api.errors import ProblemKind

Block = dict[str, Any]
"""One block of content in the form of the Messages API: text, image, document, tool_use, tool_result, ..."""
Content = str | tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; content that is nothing but text is a string."""

    role: Literal["user", "assistant"]
    content: Content

    @property
    def text(self) -> str:
        """What it says, without its other blocks."""
        if isinstance(self.content, str):
            return self.content
        return "".join(block["text"] for block in self.content if block["type"] == "text")

    @property
    def begins_turn(self) -> bool:
        """Whether it is a question of the caller, which nothing before it needs; results of tools need their calls."""
        if self.role != "user":
            return False
        return isinstance(self.content, str) or all(block["type"] != "tool_result" for block in self.content)


def as_content(blocks: Sequence[Block]) -> Content:
    """Blocks as the content of a message: a string where they are nothing but text."""
    if all(block["type"] == "text" and not block.get("citations") for block in blocks):
        return "".join(block["text"] for block in blocks)
    return tuple(blocks)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counted them; the four kinds don't overlap."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    web_searches: int = 0
    """Searches of the web by the provider, which it bills apart from tokens."""

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(
            self.input + other.input,
            self.output + other.output,
            self.cache_read + other.cache_read,
            self.cache_write + other.cache_write,
            self.web_searches + other.web_searches,
        )

    def by_kind(self) -> Iterable[tuple[str, int]]:
        """The kinds as metrics name them, with their counts."""
        yield "input", self.input
        yield "output", self.output
        yield "cache_read", self.cache_read
        yield "cache_write", self.cache_write

    def document(self) -> dict[str, int]:
        """As answers and logs show it."""
        return {**{f"{kind}_tokens": count for kind, count in self.by_kind()}, "web_searches": self.web_searches}


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a model is asked."""

    system: str
    messages: tuple[Message, ...]
    max_tokens: int
    tools: tuple[Block, ...] = ()
    """What the model may call, as the Messages API describes tools."""
    may_call: bool = False
    """Whether the model may call them now; those that it has called before must be known to it all the same."""
    output_schema: dict[str, Any] | None = None
    """JSON schema that the text of the answer must meet; None: any text."""


@dataclass(frozen=True, slots=True)
class BlockStarted:
    """The model has begun a block: it is alive, even where the block shows nothing before its end."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A further piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class BlockDone:
    """A complete block of the answer; those of text have been told piece by piece already."""

    block: Block


@dataclass(frozen=True, slots=True)
class Completed:
    """The end of an answer."""

    model: str
    """Name of the model that answered, as the provider says it."""
    stop_reason: str
    usage: Usage


ModelEvent = BlockStarted | TextDelta | BlockDone | Completed


class Provider(Protocol):
    """A way to reach one model."""

    retires: date | None
    """The day from which the provider no longer serves the model, as far as it has been announced."""

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask once: blocks, each begun, told if it is text, and done; then one Completed.

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
