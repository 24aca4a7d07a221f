"""The AgentService resource: these models are the CRD, the parser and the API reference.

A field is here when it works. Python names are snake_case, the wire names camelCase with upper-case initialisms.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "agentservice.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "AgentService"
PLURAL = "agentservices"


class ApiModel(BaseModel):
    """Base of every API type: immutable, read by wire name, tolerant of fields that a newer CRD added."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class ConfigMapKeyRef(ApiModel):
    name: str
    key: str


class SecretKeyRef(ApiModel):
    name: str
    key: str


class Credentials(ApiModel):
    secret_key_ref: SecretKeyRef


class AnthropicModel(ApiModel):
    model: str
    base_url: Annotated[str | None, Field(alias="baseURL")] = None
    credentials: Credentials


class Model(ApiModel):
    name: str
    provider: Literal["Anthropic", "Echo"]
    anthropic: AnthropicModel | None = None
    max_tokens: Annotated[int, Field(ge=1, le=200_000)] = 4096
    first_token_timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 20
    retries: Annotated[int, Field(ge=0, le=5)] = 1


class SystemPromptSource(ApiModel):
    config_map_key_ref: ConfigMapKeyRef


class Agent(ApiModel):
    name: str
    description: str | None = None
    system_prompt: str | None = None
    system_prompt_from: SystemPromptSource | None = None
    model: str | None = None


class EnvVarSource(ApiModel):
    secret_key_ref: SecretKeyRef | None = None
    config_map_key_ref: ConfigMapKeyRef | None = None


class EnvVar(ApiModel):
    name: str
    value: str | None = None
    value_from: EnvVarSource | None = None


class LocalObjectReference(ApiModel):
    name: str


class ResourceRequirements(ApiModel):
    requests: dict[str, int | str] = {}
    limits: dict[str, int | str] = {}


class Rollout(ApiModel):
    max_surge: int | str = 1
    max_unavailable: int | str = 0
    progress_deadline_seconds: int = 300


class Runtime(ApiModel):
    image: str | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: list[LocalObjectReference] = []
    resources: ResourceRequirements | None = None
    env: list[EnvVar] = []
    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, Any]] = []
    affinity: dict[str, Any] = {}
    topology_spread_constraints: list[dict[str, Any]] = []
    priority_class_name: str | None = None
    pod_labels: dict[str, str] = {}
    pod_annotations: dict[str, str] = {}
    max_concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] = 256
    max_queued_requests: Annotated[int, Field(ge=0, le=10_000)] = 256
    lame_duck_seconds: Annotated[int, Field(ge=0, le=60)] = 5
    drain_seconds: Annotated[int | None, Field(ge=0, le=3600)] = None
    rollout: Rollout = Rollout()
    revision_history_limit: int = 3


class Autoscaling(ApiModel):
    min_replicas: int = 1
    max_replicas: int
    target_cpu_utilization_percentage: Annotated[int | None, Field(alias="targetCPUUtilizationPercentage")] = None
    target_memory_utilization_percentage: int | None = None
    metrics: list[dict[str, Any]] = []
    behavior: dict[str, Any] = {}


class State(ApiModel):
    backend: Literal["Ephemeral"] = "Ephemeral"


class ApiKeys(ApiModel):
    source: Literal["Generated"] = "Generated"


class Access(ApiModel):
    api_keys: ApiKeys = ApiKeys()


class ServiceExposure(ApiModel):
    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    port: Annotated[int, Field(ge=1, le=65_535)] = 80
    annotations: dict[str, str] = {}


class Exposure(ApiModel):
    service: ServiceExposure = ServiceExposure()


class Observability(ApiModel):
    log_level: Literal["Debug", "Info", "Warning", "Error"] = "Info"


class InheritedMetadata(ApiModel):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class AgentServiceSpec(ApiModel):
    paused: bool = False
    inherited_metadata: InheritedMetadata = InheritedMetadata()
    models: list[Model]
    default_model: str | None = None
    agents: list[Agent]
    default_agent: str | None = None
    request_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = 120
    runtime: Runtime = Runtime()
    replicas: int | None = None
    autoscaling: Autoscaling | None = None
    state: State = State()
    access: Access = Access()
    exposure: Exposure = Exposure()
    observability: Observability = Observability()


class ObjectMeta(ApiModel):
    name: str
    namespace: str
    uid: str = ""
    generation: int = 1
    resource_version: str = ""
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None


class AgentService(ApiModel):
    metadata: ObjectMeta
    spec: AgentServiceSpec
