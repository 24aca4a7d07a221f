"""RuntimeConfig: the one schema of the configuration that the operator renders and the runtime reads.

The operator's ConfigMap builder creates it, the runtime reads it from the mounted file; so this module imports nothing
but Pydantic. Fields are snake_case on the wire too: nobody writes this file by hand.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION: Final = 1
"""Grows when an older runtime could misread a newer file; additive fields do not need it."""

CONFIG_PATH = "/etc/agentservice/config.json"
API_KEYS_DIRECTORY = "/var/run/secrets/agentservice/api-keys"
DEFAULT_CLIENT = "default"
"""The client of the generated key."""
PREVIOUS_KEY_SUFFIX = ".previous"
"""Of the file with the keys that a client had before a rotation."""
CREDENTIALS_DIRECTORY = "/var/run/secrets/agentservice/credentials"
STATE_PATH_VOLUME = "/var/lib/agentservice/state.db"
STATE_PATH_EPHEMERAL = "/tmp/agentservice/state.db"  # noqa: S108 - the pod's own emptyDir
STATE_BYTES_EPHEMERAL = 64 * 1024 * 1024
"""Half of that emptyDir, whose pod is evicted when it is full."""
TRUST_BUNDLE_PATH = "/etc/agentservice-trust/ca.crt"
SERVING_PORT = 8080
ADMIN_PORT = 9090


Price = Annotated[Decimal, Field(ge=0, decimal_places=6)]
"""USD per so many units. With six places at most, so that one token costs whole pico-dollars."""


ORIGIN_PATTERN: Final = r"^(\*|https?://([-a-z0-9._]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?)$"
Origin = Annotated[str, Field(pattern=ORIGIN_PATTERN)]
"""Of a web page, as browsers send it: scheme, host, and the port unless it is the scheme's own; ``*``: any."""


class _ConfigModel(BaseModel):
    """Unknown fields are ignored: a newer operator may render more than this runtime knows."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class AnthropicProvider(_ConfigModel):
    """How to reach one model on the Anthropic Messages API."""

    model: str
    base_url: str | None = None
    credentials_file: str
    """File with the API key; re-read when the kubelet renews the Secret."""


class PricingConfig(_ConfigModel):
    """What a model costs, in USD."""

    input_per_million: Price
    output_per_million: Price
    cache_read_per_million: Price | None = None
    """Absent: as input."""
    cache_write_per_million: Price | None = None
    """Absent: 1.25 times the input."""
    web_search_per_thousand: Price


class ModelConfig(_ConfigModel):
    """A handle that agents use; exactly the member of its provider is set."""

    name: str
    provider: Literal["Anthropic", "Echo"]
    anthropic: AnthropicProvider | None = None
    max_tokens: Annotated[int, Field(ge=1)]
    """Most tokens of one answer."""
    first_token_timeout_seconds: Annotated[float, Field(gt=0)]
    retries: Annotated[int, Field(ge=0)]
    """Further tries of a model call after the first, before its first event."""
    pricing: PricingConfig | None = None
    """Absent: the public price of the model, where there is one."""


class HeaderConfig(_ConfigModel):
    """A header of the requests to a tool; exactly one of its values is set."""

    name: str
    value: str | None = None
    value_file: str | None = None
    """File with the value; re-read when the kubelet renews the Secret."""


class HttpToolConfig(_ConfigModel):
    """A tool that is one HTTP request."""

    description: str | None = None
    """What it does, for the model."""
    method: Literal["GET", "POST"]
    url: str
    """With ``{placeholders}`` after the host, which the input fills in."""
    input_schema: dict[str, Any]
    """JSON schema of the input, an object."""
    headers: tuple[HeaderConfig, ...] = ()


class McpServerConfig(_ConfigModel):
    """The tools of an MCP server, by streamable HTTP."""

    url: str
    allowed_tools: tuple[str, ...] | None = None
    """Names of tools as the server has them; absent: all that it lists."""
    headers: tuple[HeaderConfig, ...] = ()


class WebSearchConfig(_ConfigModel):
    """The web search of a model's provider."""

    max_uses: Annotated[int, Field(ge=1)]
    """Most searches of one model call."""


class ToolConfig(_ConfigModel):
    """Something that agents can do; exactly the member of its type is set."""

    name: str
    type: Literal["HTTP", "MCP", "WebSearch"]
    http: HttpToolConfig | None = None
    mcp: McpServerConfig | None = None
    web_search: WebSearchConfig | None = None
    timeout_seconds: Annotated[float, Field(gt=0)]
    approval: Literal["Never", "Always"] = "Never"
    """Always: a person allows or denies each call."""


class AgentConfig(_ConfigModel):
    """One agent: a system prompt on a model, and tools."""

    name: str
    description: str | None = None
    system_prompt: str
    model: str
    tools: tuple[str, ...] = ()
    max_turns: Annotated[int, Field(ge=1)] = 8
    """Most model calls of one request."""


class StateConfig(_ConfigModel):
    """Where conversations are kept, and for how long."""

    path: str | None = None
    """File of the SQLite database; made where there is none. Either this or `url_file`."""
    url_file: str | None = None
    """File with the URL of a PostgreSQL database, which all replicas share."""
    redis_url_file: str | None = None
    """File with the URL of a Redis, by which processes wake each other; without, they look by themselves."""
    max_bytes: Annotated[int, Field(ge=1024 * 1024)] | None = None
    """Most bytes of the file; beyond, the least recently used conversations go. Absent: no limit but its disk's."""
    retention_days: Annotated[int, Field(ge=1)]
    """A conversation goes when it was last used so long ago, a record of usage when it is so old."""


class TasksConfig(_ConfigModel):
    """How turns are answered that nobody waits for."""

    in_workers: bool = False
    """Whether processes of their own run them; the serving ones then only take them."""
    concurrency: Annotated[int, Field(ge=1)] = 10
    """Most tasks at once, of each process that runs them."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 3600
    """Longest time of a task, from its first start on, without the time that approvals take."""
    result_ttl_seconds: Annotated[float, Field(gt=0)] = 86_400
    """How long a task is kept after its end, and how long an approval is waited for."""
    lease_seconds: Annotated[float, Field(gt=0)] = 30
    """How long a task is left to a process that is not heard of."""


class ClientConfig(_ConfigModel):
    """Somebody who may call."""

    name: str


class RuntimeConfig(_ConfigModel):
    """Everything that one serving process needs to know, except the secrets, which are files."""

    schema_version: Literal[1] = SCHEMA_VERSION
    service: str
    namespace: str
    models: Annotated[tuple[ModelConfig, ...], Field(min_length=1)]
    agents: Annotated[tuple[AgentConfig, ...], Field(min_length=1)]
    default_agent: str
    tools: tuple[ToolConfig, ...] = ()
    max_history_tokens: Annotated[int, Field(ge=1)] = 100_000
    """Most tokens, by our estimate, of a conversation that the model is shown again; the newest turn is."""
    path_prefix: str | None = None
    """Where a proxy in front of several services sends the requests of this one, such as ``/support``."""
    cors_allowed_origins: tuple[Origin, ...] = ()
    """Whose web pages may ask, in browsers."""
    api_docs: bool = False
    """Whether everybody may see the description of the API, at ``/openapi.json`` and ``/docs``."""
    request_timeout_seconds: Annotated[float, Field(gt=0)]
    max_concurrent_requests: Annotated[int, Field(ge=1)]
    max_queued_requests: Annotated[int, Field(ge=0)]
    lame_duck_seconds: Annotated[float, Field(ge=0)]
    drain_seconds: Annotated[float, Field(ge=0)]
    api_keys_directory: str
    """One file per client: its name is the principal, its lines are the keys valid now. A file NAME.previous holds
    further keys of the client NAME: those from before a rotation."""
    clients: tuple[ClientConfig, ...] = ()
    """Whose keys are valid; none: those of everybody who has a file there."""
    state: StateConfig
    tasks: TasksConfig = TasksConfig()
    trust_bundle_file: str | None = None
    """PEM file of certificate authorities that are trusted besides the public ones."""
    log_level: Literal["debug", "info", "warning", "error"]
