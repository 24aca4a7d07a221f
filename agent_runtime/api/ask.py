"""What a caller asks of an agent, in every call of the chat API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StrictBool, StringConstraints, model_validator

from agent_runtime.api.content import MessageContent, ShortText, content_of
from agent_runtime.api.errors import (
    AGENT_NOT_FOUND,
    ANSWER_INVALID,
    CONVERSATION_BUSY,
    CONVERSATION_NOT_FOUND,
    DEADLINE_EXCEEDED,
    OVERLOADED,
    SHUTTING_DOWN,
    STATE_UNAVAILABLE,
    TOO_MANY_TASKS,
    UPSTREAM_INTERRUPTED,
    UPSTREAM_MODEL_NOT_FOUND,
    UPSTREAM_OVERLOADED,
    UPSTREAM_REJECTED,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAUTHORIZED,
    UPSTREAM_UNAVAILABLE,
    ProblemError,
)
from agent_runtime.api.response_format import ResponseFormat
from agent_runtime.config import AgentConfig, RuntimeConfig
from agent_runtime.pipeline.context import RequestContext
from agent_runtime.pipeline.departure import Departure
from agent_runtime.pipeline.turn import Turn

_Name = Annotated[str, StringConstraints(max_length=253)]
_MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]


CONVERSATION_ID = r"^[0-9a-f]{32}$"
"""Ids are ours, so nobody can take or guess one."""
ASK_PROBLEMS = (
    AGENT_NOT_FOUND,
    CONVERSATION_NOT_FOUND,
    CONVERSATION_BUSY,
    TOO_MANY_TASKS,
    ANSWER_INVALID,
    UPSTREAM_UNAUTHORIZED,
    UPSTREAM_REJECTED,
    UPSTREAM_MODEL_NOT_FOUND,
    UPSTREAM_UNAVAILABLE,
    UPSTREAM_INTERRUPTED,
    OVERLOADED,
    SHUTTING_DOWN,
    STATE_UNAVAILABLE,
    UPSTREAM_OVERLOADED,
    DEADLINE_EXCEEDED,
    UPSTREAM_TIMEOUT,
)
"""What may become of a message."""

STORE_OR_FORGET: dict[str, JsonValue] = {
    "not": {
        "properties": {"store": {"const": False}, "conversation_id": {"type": "string"}},
        "required": ["store", "conversation_id"],
    }
}
"""The rule of ``store``, for the schema of what a caller asks."""


class Ask(BaseModel):
    """A message to an agent; unknown fields are refused, since a misspelt one would be ignored in silence."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, json_schema_extra=STORE_OR_FORGET
    )

    message: MessageContent
    conversation_id: Annotated[str, StringConstraints(pattern=CONVERSATION_ID)] | None = None
    agent: _Name | None = None
    store: StrictBool = True
    response_format: ResponseFormat | None = None
    metadata: Annotated[dict[_MetadataKey, ShortText], Field(max_length=16)] | None = None
    """Comes back in the answer, for callers who have to match the two."""

    @model_validator(mode="after")
    def _store_or_forget(self) -> Ask:
        if self.conversation_id is not None and not self.store:
            raise ValueError("store: false has no conversation; leave conversation_id out")
        return self


@dataclass(frozen=True)
class Agents:
    """The agents of a service by name."""

    by_name: Mapping[str, AgentConfig]
    default: str

    @classmethod
    def of(cls, config: RuntimeConfig) -> Agents:
        """Those of `config`."""
        return cls({agent.name: agent for agent in config.agents}, config.default_agent)

    def asked(self, ask: Ask) -> AgentConfig:
        """The agent that is meant.

        Raises:
            ProblemError: there is none of this name.
        """
        try:
            return self.by_name[self.default if ask.agent is None else ask.agent]
        except KeyError:
            raise ProblemError(AGENT_NOT_FOUND, f"This service has the agents {', '.join(self.by_name)}.") from None


def turn_of(
    ask: Ask,
    agent: AgentConfig,
    context: RequestContext,
    departure: Departure | None,
    *,
    streamed: bool = False,
    batch_priority: int | None = None,
) -> Turn:
    """The turn that a caller asks for."""
    return Turn(
        context=context,
        principal=context.principal or "",
        agent=agent,
        content=content_of(ask.message),
        conversation_id=ask.conversation_id,
        store=ask.store,
        departure=departure,
        output_schema=None if ask.response_format is None else ask.response_format.definition,
        streamed=streamed,
        batch_priority=batch_priority,
    )
