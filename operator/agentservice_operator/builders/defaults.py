"""What an installation decides for all of its agents where their specs say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError

from agentservice_operator.api.markers import Atomic, Cel, ListMap, RawAs, SetList, matching
from agentservice_operator.api.v1alpha1.base import (
    ApiModel,
    DnsLabel,
    DnsSubdomain,
    Labels,
    LocalObjectReference,
    NodeLabels,
    RawObject,
)
from agentservice_operator.api.v1alpha1.parse import explain, without_nulls
from agentservice_operator.api.v1alpha1.workload import ResourceRequirements, Toleration

Namespaces = Annotated[list[DnsLabel], Field(max_length=64), SetList()]
ProxyUrl = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    matching(
        r"^https?://([-A-Za-z0-9._]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$",
        "a proxy must be an http or https URL of host and port only: credentials would be readable in every pod",
    ),
]


class InvalidDefaults(ValueError):  # noqa: N818 - says what is wrong
    """The defaults cannot be used; the message names the field and the remedy in one sentence."""


class Proxy(ApiModel):
    """The proxy through which agents reach what is outside the cluster."""

    http: ProxyUrl | None = None
    """For http URLs."""
    https: ProxyUrl | None = None
    """For https URLs: those of the model providers."""
    no_proxy: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-A-Za-z0-9._:*/\[\]]+$")]],
        Field(max_length=128),
        SetList(),
    ] = []
    """Hosts and domains that agents reach without it, besides those of the cluster."""

    rules: ClassVar = (
        Cel(
            "has(self.http) || has(self.https)",
            "a proxy needs http, https or both: set one of them, or remove the proxy",
            lambda proxy: proxy.http is not None or proxy.https is not None,
        ),
    )


class AgentDefaults(ApiModel):
    """What an installation decides for all of its agents. A field that a spec sets wins as a whole."""

    gateway_namespaces: Namespaces = []
    """Where gateways and ingress controllers run, which pass requests on to the pods."""
    monitoring_namespaces: Namespaces = []
    """Where scrapers of metrics run."""
    monitor_labels: Labels = {}
    """Labels of every PodMonitor and PrometheusRule; those of a spec are added and win."""
    resources: ResourceRequirements | None = None
    """Compute resources of the serving container."""
    image_pull_secrets: Annotated[list[LocalObjectReference], Field(max_length=16), ListMap("name")] = []
    """Secrets, in the namespace of each AgentService, with credentials for the image's registry."""
    node_selector: NodeLabels = {}
    """Labels of the nodes that the pods may run on."""
    tolerations: Annotated[list[Annotated[RawObject, RawAs(Toleration)]], Field(max_length=32), Atomic()] = []
    """Taints of nodes that the pods tolerate."""
    priority_class_name: DnsSubdomain | None = None
    """PriorityClass of the pods."""
    volume_group: Literal["Image", "Namespace"] = "Image"
    """Group that owns the volumes of pods. Image: that of the runtime image, 65532. Namespace: what the namespace's
    security context constraints give to pods, on OpenShift."""
    proxy: Proxy | None = None
    """The proxy through which agents reach what is outside the cluster."""


def parse_defaults(raw: Any) -> AgentDefaults:
    """The defaults that a YAML document holds; None, an empty one, holds none.

    Args:
        raw: The document, as a person wrote it: unknown fields are refused, nulls mean absence.

    Raises:
        InvalidDefaults: Something in it cannot be.
    """
    if raw is None:
        return AgentDefaults()
    if not isinstance(raw, Mapping):
        raise InvalidDefaults("the document is no map of defaults: write one field per line.")
    parts = without_nulls(raw)
    try:
        return AgentDefaults.model_validate(parts, by_alias=True, by_name=False, extra="forbid")
    except ValidationError as error:
        raise InvalidDefaults(explain(error, parts)) from error
