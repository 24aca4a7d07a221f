"""The documents of answers, as the OpenAPI document describes them; they are written by hand, which costs less."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from agent_runtime.api.openapi import Problem


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class UsageDocument(_Document):
    """Tokens as the provider counted them."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    web_searches: int


class ToolCallDocument(_Document):
    """A call of a tool."""

    id: str
    name: str
    input: dict[str, Any]
    outcome: str
    seconds: float


class SourceDocument(_Document):
    """A page that an answer has its facts from."""

    url: str
    title: str


class ChatAnswer(_Document):
    """The answer to a message."""

    request_id: str
    conversation_id: str | None
    agent: str
    created_at: str
    message: str
    tool_calls: list[ToolCallDocument]
    sources: list[SourceDocument]
    stop_reason: str
    model: str
    cost_usd: float | None
    latency_ms: int
    metadata: dict[str, str] = {}
    usage: UsageDocument


class CompletedItem(_Document):
    """An item of a batch that was answered."""

    index: int
    status: Literal["completed"]
    result: ChatAnswer


class FailedItem(_Document):
    """An item of a batch that was not."""

    index: int
    status: Literal["failed"]
    problem: Problem


class BatchAnswer(_Document):
    """The answers to a batch, in the order of its items."""

    batch_id: str | None
    status: Literal["completed", "partial", "failed"]
    items: list[CompletedItem | FailedItem]
