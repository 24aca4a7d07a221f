"""The documents of answers, as the OpenAPI document describes them; they are written by hand, which costs less."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, RootModel

from agent_runtime.api.openapi import Problem


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


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
    """`ok`, or what went wrong."""
    seconds: float | None
    """Null where the provider made it."""


class SourceDocument(_Document):
    """A page that an answer has its facts from."""

    url: str
    title: str


class _Heading(_Document):
    """What is known of an answer at its beginning."""

    request_id: str
    conversation_id: str | None
    agent: str
    created_at: str


class _Ending(_Document):
    """What is known of an answer at its end."""

    tool_calls: list[ToolCallDocument]
    sources: list[SourceDocument]
    stop_reason: str
    model: str
    cost_usd: float | None
    """Null where a model that answered has no price."""
    latency_ms: int
    metadata: dict[str, str] = {}
    """As it was sent."""


class ChatAnswer(_Heading, _Ending):
    """The answer to a message."""

    message: str
    usage: UsageDocument


class TaskInputDocument(_Document):
    """What a task answers."""

    message: str | list[dict[str, Any]]


class TaskResult(_Document):
    """The answer of a task."""

    message: str
    tool_calls: list[ToolCallDocument]
    sources: list[SourceDocument]
    stop_reason: str
    model: str
    cost_usd: float | None


class TaskErrorDocument(_Document):
    """Why a task failed, in the words of problem details."""

    code: str
    title: str
    detail: str


class ApprovalDocument(_Document):
    """A call of a tool that people must decide on, or have."""

    call: str
    tool: str
    input: dict[str, Any]
    decision: Literal["approve", "deny"] | None


class TaskDocument(_Document):
    """A task."""

    id: str
    status: Literal["pending", "running", "awaiting_approval", "completed", "failed", "canceled"]
    agent: str
    priority: int
    conversation_id: str | None
    created_at: str
    started_at: str | None
    completed_at: str | None
    input: TaskInputDocument
    result: TaskResult | None
    error: TaskErrorDocument | None
    usage: UsageDocument | None
    position: int | None
    eta_seconds: float | None
    approvals: list[ApprovalDocument]
    metadata: dict[str, str] | None


class TaskPage(_Document):
    """Tasks, the newest first."""

    items: list[TaskDocument]
    next_cursor: str | None


class StartEvent(_Heading):
    """An answer begins."""

    type: Literal["start"]
    run_id: str


class DeltaEvent(_Document):
    """Further text."""

    type: Literal["delta"]
    text: str


class ToolCallEvent(_Document):
    """A tool is called."""

    type: Literal["tool_call"]
    id: str
    name: str
    input: dict[str, Any]


class ToolResultEvent(_Document):
    """A call of a tool has ended."""

    type: Literal["tool_result"]
    id: str
    name: str
    outcome: str
    """`ok`, or what went wrong."""
    seconds: float | None
    """Null where the provider made it."""


class UsageEvent(UsageDocument):
    """Tokens as the provider counted them."""

    type: Literal["usage"]


class DoneEvent(_Heading, _Ending):
    """The answer is complete."""

    type: Literal["done"]
    run_id: str


class _Failure(_Document):
    """A problem as an event."""

    type: Literal["error"]
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[dict[str, str]] = []


class ErrorEvent(_Failure):
    """The answer is not complete, and why."""

    run_id: str


class HandedOverEvent(_Heading):
    """The answer goes on as a task."""

    type: Literal["task"]
    run_id: str
    task: TaskDocument


class ChatEvent(
    RootModel[
        StartEvent
        | DeltaEvent
        | ToolCallEvent
        | ToolResultEvent
        | UsageEvent
        | DoneEvent
        | HandedOverEvent
        | ErrorEvent
    ]
):
    """What happens while an agent answers."""


class StatusEvent(_Document):
    """A task has another status."""

    type: Literal["status"]
    status: Literal["pending", "running", "awaiting_approval", "completed", "failed", "canceled"]
    at: str


class TaskErrorEvent(_Failure):
    """No more is told here, and why."""


class TaskEventDocument(RootModel[StatusEvent | ToolCallEvent | ToolResultEvent | TaskErrorEvent]):
    """What happens to a task."""


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


class WaitingItem(_Document):
    """An item of a batch that people must approve of."""

    index: int
    status: Literal["awaiting_approval"]
    task: TaskDocument


class BatchAnswer(_Document):
    """The answers to a batch, in the order of its items."""

    batch_id: str | None
    status: Literal["completed", "partial", "failed"]
    items: list[CompletedItem | FailedItem | WaitingItem]


class ConversationDocument(_Document):
    """A conversation, as lists show it."""

    id: str
    agent: str
    updated_at: str


class MessageDocument(_Document):
    """What was said."""

    role: Literal["user", "assistant"]
    content: str | list[dict[str, Any]]
    """Text, or blocks."""


class ConversationWithMessages(ConversationDocument):
    """A conversation with all that was said."""

    messages: list[MessageDocument]


class ConversationPage(_Document):
    """Conversations, the one used last first."""

    items: list[ConversationDocument]
    next_cursor: str | None
    """Of the next page; null after the last one."""


class StatisticsDocument(_Document):
    """What an agent has done."""

    requests: int
    errors: int
    """Failures of ours or of the provider."""
    mean_ms: float | None
    p95_ms: float | None
    tokens: UsageDocument
    cost_usd: float | None
    unpriced_answers: int
    """Of models without a price, which `cost_usd` lacks."""


class ListedAgent(_Document):
    """An agent, as lists show it."""

    name: str
    description: str | None
    default: bool
    """Whether it answers who names none."""
    model: str
    statistics: StatisticsDocument


class AgentDocument(ListedAgent):
    """An agent."""

    scope: Literal["service", "pod"]
    """Whom the statistics are about: all pods, or the one that answers."""
    since: str
    """When they begin."""


class AgentPage(_Document):
    """The agents of the service."""

    items: list[ListedAgent]
    next_cursor: None
    scope: Literal["service", "pod"]
    """Whom the statistics are about: all pods, or the one that answers."""
    since: str
    """When they begin."""


class ServedAgent(_Document):
    """An agent, to callers who look around."""

    name: str
    description: str | None


class ServiceDocument(_Document):
    """What the service says of itself."""

    name: str
    version: str
    default_agent: str
    agents: list[ServedAgent]


class ProbeDocument(_Document):
    """To whoever asks every few seconds."""

    status: Literal["ok"]


class ComponentDocument(_Document):
    """How something does that the service needs."""

    status: Literal["healthy", "degraded", "unhealthy"]
    latency_ms: float = 0
    """Of the database and the Redis."""
    message: str = ""
    """Where it is not healthy."""


class AgentHealthDocument(_Document):
    """How an agent does."""

    status: Literal["healthy", "degraded"]
    error_percent: float
    """Of its latest requests."""


class LoadDocument(_Document):
    """Requests that are in work, that wait, and that can be in work at once."""

    in_flight: int
    queued: int
    limit: int


class UnfinishedTasksDocument(_Document):
    """Tasks of all clients that are not over."""

    pending: int
    running: int
    awaiting_approval: int


class CpuDocument(_Document):
    """Seconds that the process has used."""

    seconds: float


class MemoryDocument(_Document):
    """Of the process; the limit is that of its container."""

    resident_bytes: int
    limit_bytes: int | None


class DiskDocument(_Document):
    """That of a database in a file."""

    used_bytes: int
    total_bytes: int


class ResourcesDocument(_Document):
    """What the process uses."""

    cpu: CpuDocument
    memory: MemoryDocument
    disk: DiskDocument | None = None


class HealthDocument(_Document):
    """How the process and what it needs do."""

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str
    phase: str
    uptime_seconds: float
    components: dict[str, ComponentDocument]
    agents: dict[str, AgentHealthDocument]
    requests: LoadDocument
    tasks: UnfinishedTasksDocument | None
    """Null where the database does not tell."""
    resources: ResourcesDocument
