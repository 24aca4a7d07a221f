"""What the operator reports about an AgentService; only it writes these fields."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agentservice_operator.api.markers import ListMap
from agentservice_operator.api.v1alpha1.base import ApiModel


class Condition(ApiModel):
    """One aspect of the state of the AgentService."""

    type: Annotated[
        str,
        Field(
            max_length=316,
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        ),
    ]
    """Name of the aspect, such as Ready."""
    status: Literal["True", "False", "Unknown"]
    """Whether the aspect holds."""
    observed_generation: Annotated[int | None, Field(ge=0)] = None
    """Generation of the spec that the condition is about."""
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    """When the status last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """Why, in one CamelCase word that alerts and scripts may match on."""
    message: Annotated[str, Field(max_length=32_768)]
    """Why, and what to do next, in a sentence."""


class Address(ApiModel):
    """Where the agents answer inside the cluster."""

    url: Annotated[str, Field(max_length=512)]
    """Base URL of the Service."""


class AgentServiceStatus(ApiModel):
    """What is there, as last observed."""

    observed_generation: Annotated[int | None, Field(ge=-1)] = None
    """Generation of the spec that was last applied to the children; -1: none yet."""
    replicas: Annotated[int | None, Field(ge=0)] = None
    """Pods that exist."""
    ready_replicas: Annotated[int | None, Field(ge=0)] = None
    """Pods that serve."""
    selector: Annotated[str | None, Field(max_length=512)] = None
    """Label selector of the serving pods, as text."""
    address: Address | None = None
    """Where the agents answer inside the cluster."""
    model: Annotated[str | None, Field(max_length=256)] = None
    """What agents run on unless they name another: the default model as its provider calls it, else the provider."""
    url: Annotated[str | None, Field(max_length=1024)] = None
    """Where the agents answer outside the cluster, as exposure asks for it. Absent while a Gateway refuses that; the
    condition RouteAccepted says whether anybody serves it."""
    current_revision: Annotated[str | None, Field(max_length=63)] = None
    """Revision that serves."""
    update_revision: Annotated[str | None, Field(max_length=63)] = None
    """Revision that is being rolled out, or serves when the rollout is over."""
    applied_generation: Annotated[int | None, Field(ge=0)] = None
    """Generation of the spec that the Deployment was last brought to."""
    applied_references: Annotated[str | None, Field(max_length=63)] = None
    """Identifies the ConfigMap values that the Deployment was last brought to."""
    conditions: Annotated[list[Condition], Field(max_length=32), ListMap("type")] = []
    """State by aspect. Ready is always there, Reconciling while work goes on, Stalled when nothing moves without a
    person."""
