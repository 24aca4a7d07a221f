"""The AgentService resource: these models are the CRD, the parser and the API reference.

A field is here when it works. Python names are snake_case, the wire names camelCase with upper-case initialisms.
How the pods run stands in ``workload``, how they are reached in ``exposure``, what the operator reports in ``status``.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agentservice_operator.api.markers import (
    Atomic,
    Cel,
    ListMap,
    PreserveUnknown,
    SetList,
    exactly_one_of,
    matching,
    member_of,
)
from agentservice_operator.api.v1alpha1.access import Access, ApiKeys, Client
from agentservice_operator.api.v1alpha1.base import (
    Annotations,
    ApiModel,
    ConfigMapKeyRef,
    DnsLabel,
    Labels,
    LocalObjectReference,
    RawObject,
    SecretKeyRef,
)
from agentservice_operator.api.v1alpha1.exposure import (
    CORS,
    ApiDocs,
    Exposure,
    HTTPRoute,
    Ingress,
    IngressTLS,
    ParentRef,
    ServiceExposure,
)
from agentservice_operator.api.v1alpha1.observability import Observability, PodMonitor, PrometheusRule
from agentservice_operator.api.v1alpha1.state import State, Volume
from agentservice_operator.api.v1alpha1.tasks import Tasks
from agentservice_operator.api.v1alpha1.tools import Header, HeaderSource, HTTPTool, MCPServer, Tool, WebSearch
from agentservice_operator.api.v1alpha1.workload import (
    Autoscaling,
    Disruption,
    EnvVar,
    EnvVarSource,
    ResourceRequirements,
    Rollout,
    Runtime,
)

__all__ = [
    "API_VERSION",
    "CORS",
    "GROUP",
    "KIND",
    "MAX_PROMPT_CHARACTERS",
    "PLURAL",
    "VERSION",
    "Access",
    "Agent",
    "AgentService",
    "AgentServiceSpec",
    "AnthropicModel",
    "ApiDocs",
    "ApiKeys",
    "ApiModel",
    "Autoscaling",
    "Client",
    "ConfigMapKeyRef",
    "Credentials",
    "Disruption",
    "EnvVar",
    "EnvVarSource",
    "Exposure",
    "HTTPRoute",
    "HTTPTool",
    "Header",
    "HeaderSource",
    "Ingress",
    "IngressTLS",
    "InheritedMetadata",
    "LocalObjectReference",
    "MCPServer",
    "Model",
    "NetworkPolicy",
    "ObjectMeta",
    "Observability",
    "ParentRef",
    "PodMonitor",
    "Pricing",
    "PrometheusRule",
    "ResourceRequirements",
    "Rollout",
    "Runtime",
    "SecretKeyRef",
    "ServiceExposure",
    "State",
    "SystemPromptSource",
    "Tasks",
    "Tool",
    "Volume",
    "WebSearch",
]

GROUP = "agentservice.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "AgentService"
PLURAL = "agentservices"
MAX_PROMPT_CHARACTERS = 32_768
"""Of a system prompt, inline or out of a ConfigMap."""

BaseUrl = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    matching(
        r"^https?://([-A-Za-z0-9._]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[-A-Za-z0-9._~%/]*)?$",
        "baseURL must be an http or https URL of host, port and path only: credentials belong into a Secret",
    ),
]


Dollars = Annotated[
    str,
    Field(min_length=1, max_length=16),
    matching(
        r"^[0-9]{1,9}(\.[0-9]{1,6})?$",
        'a price must be a decimal number of USD with at most six places, such as "2.50"',
    ),
]


class Credentials(ApiModel):
    """The key that a provider asks for."""

    secret_key_ref: SecretKeyRef
    """Key of a Secret that holds the provider's API key and nothing else. A new value is used without a restart."""


class AnthropicModel(ApiModel):
    """A model on the Anthropic Messages API."""

    model: Annotated[str, Field(min_length=1, max_length=128, pattern="^[!-~]+$")]
    """Identifier of the model, as the provider names it."""
    base_url: Annotated[BaseUrl | None, Field(alias="baseURL")] = None
    """Address of a gateway that speaks the Messages API. Absent: the provider's own."""
    credentials: Credentials
    """The provider's API key."""


class Pricing(ApiModel):
    """What a model costs, in USD."""

    input_per_million: Dollars
    """Of a million tokens of the prompt that no cache has to do with."""
    output_per_million: Dollars
    """Of a million tokens of the answer."""
    cache_read_per_million: Dollars | None = None
    """Of a million tokens read from the provider's prompt cache. Absent: as inputPerMillion."""
    cache_write_per_million: Dollars | None = None
    """Of a million tokens written to it. Absent: 1.25 times inputPerMillion."""
    web_search_per_thousand: Dollars = "10"
    """Of a thousand searches of the web by the provider."""


class Model(ApiModel):
    """A model under a handle that agents use."""

    name: DnsLabel
    """Handle of the model, unique in the AgentService."""
    provider: Literal["Anthropic", "Echo"]
    """Who answers. Echo repeats the question without a key, and says so: for demonstrations and tests."""
    anthropic: AnthropicModel | None = None
    """The model, with provider Anthropic."""
    max_tokens: Annotated[int, Field(ge=1, le=200_000)] = 4096
    """Most tokens of one answer."""
    first_token_timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 20
    """How long the first token may take before the call counts as failed."""
    retries: Annotated[int, Field(ge=0, le=5)] = 1
    """Further tries after a call that failed before its first token."""
    pricing: Pricing | None = None
    """What the model costs. Absent: the public list price that the runtime knows; a model that has none is unpriced."""

    rules: ClassVar = member_of("provider", {"Anthropic": "anthropic"})


class SystemPromptSource(ApiModel):
    """Where a system prompt comes from."""

    config_map_key_ref: ConfigMapKeyRef
    """Key of a ConfigMap. A new value is rolled out."""


class Agent(ApiModel):
    """An agent: a system prompt on a model."""

    name: DnsLabel
    """Name of the agent, unique in the AgentService; callers choose it by this name."""
    description: Annotated[str | None, Field(min_length=1, max_length=1024)] = None
    """What the agent is for, as callers see it."""
    system_prompt: Annotated[str | None, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)] = None
    """Instructions that every conversation begins with."""
    system_prompt_from: SystemPromptSource | None = None
    """Reference to the instructions."""
    model: DnsLabel | None = None
    """Handle out of spec.models. Absent: the default model."""
    tools: Annotated[list[DnsLabel], Field(max_length=64), SetList()] = []
    """Names out of spec.tools: what the agent may use, and nothing else."""
    max_turns: Annotated[int, Field(ge=1, le=50)] = 8
    """Most model calls of one request. In the last one the model must answer without tools."""

    rules: ClassVar = (exactly_one_of("systemPrompt", "systemPromptFrom"),)


class NetworkPolicy(ApiModel):
    """Who may connect to the pods, and where the pods may connect to."""

    mode: Literal["Enabled", "Disabled"] = "Enabled"
    """Enabled: a NetworkPolicy lets in only requests from this namespace, from the installation's gateway namespaces
    and from allowFrom, and scrapers from the operator's and the monitoring namespaces. Disabled: there is none."""
    allow_from: Annotated[list[Annotated[RawObject, PreserveUnknown()]], Field(max_length=32), Atomic()] = []
    """Who else may send requests, raw, as `from` in a networking.k8s.io/v1 NetworkPolicy. Callers outside the cluster,
    such as those of a LoadBalancer, need an ipBlock here."""
    allow_to: Annotated[list[Annotated[RawObject, PreserveUnknown()]], Field(max_length=32), Atomic()] = []
    """Where the pods may connect to besides DNS, raw, as `egress` in a networking.k8s.io/v1 NetworkPolicy: also the
    model providers. Absent: anywhere."""

    rules: ClassVar = (
        Cel(
            "self.mode == 'Enabled' || !(has(self.allowFrom) && size(self.allowFrom) > 0)"
            " && !(has(self.allowTo) && size(self.allowTo) > 0)",
            "allowFrom and allowTo do nothing with mode Disabled: remove them, or set mode to Enabled",
            lambda policy: policy.mode == "Enabled" or not (policy.allow_from or policy.allow_to),
            ".mode",
        ),
    )


class InheritedMetadata(ApiModel):
    """Labels and annotations that every child gets."""

    labels: Labels = {}
    """Labels of every child. Not of the pods, which a new label would restart: those have runtime.podLabels. Nor of the
    PodMonitor and the PrometheusRule, by whose labels a Prometheus selects: those have labels of their own."""
    annotations: Annotations = {}
    """Annotations of every child, pods excluded: a change of them rolls nothing."""


class AgentServiceSpec(ApiModel):
    """What is wanted: models, agents on them, and how they are served."""

    paused: bool = False
    """The operator leaves all children as they are; agents keep running. Same as the annotation
    `agentservice.dev/paused: "true"`."""
    inherited_metadata: InheritedMetadata = InheritedMetadata()
    """Labels and annotations that every child gets."""
    models: Annotated[list[Model], Field(min_length=1, max_length=16), ListMap("name")]
    """Models under the handles that agents use. Their order means nothing."""
    default_model: DnsLabel | None = None
    """Handle of the model of agents that name none. Needed where there are several models."""
    agents: Annotated[list[Agent], Field(min_length=1, max_length=16), ListMap("name")]
    """Agents that the service serves. Their order means nothing."""
    default_agent: DnsLabel | None = None
    """Name of the agent that answers callers who name none. Needed where there are several agents."""
    tools: Annotated[list[Tool], Field(max_length=64), ListMap("name")] = []
    """What agents can do, by the names that agents use. Their order means nothing."""
    request_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 120
    """How long a whole request may take before the answer is 504."""
    max_history_tokens: Annotated[int, Field(ge=1000, le=1_000_000)] = 100_000
    """Most tokens of a conversation, by a rough estimate, that the model is shown again; older turns are left out, the
    newest never."""
    runtime: Runtime = Runtime()
    """The serving pods."""
    replicas: Annotated[int | None, Field(ge=0, le=1000)] = None
    """Number of pods; 0 stops the service. Absent: 1 at creation, then left to whoever scales the Deployment; with
    state on a volume always 1."""
    autoscaling: Autoscaling | None = None
    """Scale the pods by their load. Excludes replicas."""
    disruption: Disruption = Disruption()
    """How many pods may be missing at the same time."""
    state: State = State()
    """Where conversations are kept."""
    tasks: Tasks = Tasks()
    """How tasks are done."""
    access: Access = Access()
    """Who may call the agents."""
    exposure: Exposure = Exposure()
    """How callers reach the agents."""
    network_policy: NetworkPolicy = NetworkPolicy()
    """Who may connect to the pods, and where the pods may connect to."""
    observability: Observability = Observability()
    """What the pods tell about themselves."""

    rules: ClassVar = (
        Cel(
            "!has(self.replicas) || !has(self.autoscaling)",
            "replicas and autoscaling exclude each other: change autoscaling.minReplicas and maxReplicas, or remove it",
            lambda spec: spec.replicas is None or spec.autoscaling is None,
            ".replicas",
            "FieldValueForbidden",
        ),
        Cel(
            "!has(self.replicas) || self.replicas <= 1 || self.state.backend != 'Volume'",
            "a volume serves a single pod: set replicas to 1 or 0, or remove it; several need another state.backend",
            lambda spec: spec.replicas is None or spec.replicas <= 1 or spec.state.backend != "Volume",
            ".replicas",
        ),
        Cel(
            "!has(self.autoscaling) || self.state.backend != 'Volume'",
            "a volume serves a single pod: remove autoscaling, or choose another state.backend",
            lambda spec: spec.autoscaling is None or spec.state.backend != "Volume",
            ".autoscaling",
            "FieldValueForbidden",
        ),
        Cel(
            "self.tasks.workers == 0 || self.state.backend == 'PostgreSQL' && has(self.state.redis)",
            "workers share their tasks through a database and are woken through Redis: set state.backend to PostgreSQL"
            " and state.redis, or set tasks.workers to 0",
            lambda spec: spec.tasks.workers == 0 or spec.state.redis is not None,
            ".tasks.workers",
        ),
        Cel(
            "size(self.models) == 1 || has(self.defaultModel)",
            "defaultModel is needed where there are several models: set it to the name of one",
            lambda spec: len(spec.models) == 1 or spec.default_model is not None,
            ".defaultModel",
            "FieldValueRequired",
        ),
        Cel(
            "!has(self.defaultModel) || self.models.exists(model, model.name == self.defaultModel)",
            "defaultModel must be the name of one of the models",
            lambda spec: spec.default_model is None or spec.default_model in {model.name for model in spec.models},
            ".defaultModel",
        ),
        Cel(
            "self.agents.all(agent, !has(agent.model) || self.models.exists(model, model.name == agent.model))",
            "the model of every agent must be the name of one of the models",
            lambda spec: {agent.model for agent in spec.agents if agent.model} <= {model.name for model in spec.models},
            ".agents",
        ),
        Cel(
            "self.agents.all(agent, !has(agent.tools) || agent.tools.all(name,"
            " has(self.tools) && self.tools.exists(tool, tool.name == name)))",
            "the tools of every agent must be names of spec.tools",
            lambda spec: {name for agent in spec.agents for name in agent.tools} <= {tool.name for tool in spec.tools},
            ".agents",
        ),
        Cel(
            "!has(self.tools) || self.tools.filter(tool, tool.type == 'WebSearch').size() <= 1",
            "models know one web search: leave one tool of type WebSearch, which several agents may use",
            lambda spec: sum(tool.type == "WebSearch" for tool in spec.tools) <= 1,
            ".tools",
        ),
        Cel(
            "size(self.agents) == 1 || has(self.defaultAgent)",
            "defaultAgent is needed where there are several agents: set it to the name of one",
            lambda spec: len(spec.agents) == 1 or spec.default_agent is not None,
            ".defaultAgent",
            "FieldValueRequired",
        ),
        Cel(
            "!has(self.defaultAgent) || self.agents.exists(agent, agent.name == self.defaultAgent)",
            "defaultAgent must be the name of one of the agents",
            lambda spec: spec.default_agent is None or spec.default_agent in {agent.name for agent in spec.agents},
            ".defaultAgent",
        ),
    )


class ObjectMeta(ApiModel):
    """What the operator reads of an object's metadata; the API server defines and checks it."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None


_NAME = "^[a-z]([-a-z0-9]*[a-z0-9])?$"


class AgentService(ApiModel):
    """A service that serves one or several AI agents."""

    metadata: ObjectMeta
    spec: AgentServiceSpec

    rules: ClassVar = (
        Cel(
            f"size(self.metadata.name) <= 50 && self.metadata.name.matches('{_NAME}')",
            "metadata.name must be at most 50 lower-case letters, digits and '-', from a letter to a letter or digit",
            lambda service: len(service.metadata.name) <= 50 and re.fullmatch(_NAME, service.metadata.name) is not None,  # noqa: PLR2004 - the rule's own figure
        ),
        Cel(
            "!self.metadata.name.endsWith('-worker')",
            "metadata.name must not end in -worker: such names belong to the workers of other AgentServices",
            lambda service: not service.metadata.name.endswith("-worker"),
        ),
        Cel(
            "self.spec.?runtime.?serviceAccount.?name.orValue('') != self.metadata.name",
            "serviceAccount.name must not be that of the AgentService, which its own ServiceAccount has: leave it out",
            lambda service: service.spec.runtime.service_account.name != service.metadata.name,
            ".spec.runtime.serviceAccount.name",
        ),
    )
