"""How the serving pods run: image, resources, environment, scheduling, rollout, number, disruption."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agentservice_operator.api.markers import (
    Atomic,
    Cel,
    IntOrString,
    ListMap,
    PreserveUnknown,
    RawAs,
    SetList,
    exactly_one_of,
)
from agentservice_operator.api.v1alpha1.base import (
    QUALIFIED_KEYS,
    SHORT_KEYS,
    Annotations,
    ApiModel,
    ConfigMapKeyRef,
    DnsSubdomain,
    Labels,
    LabelValue,
    LocalObjectReference,
    NodeLabels,
    RawObject,
    SecretKeyRef,
)

_SECRET_NAME = r"(?i)(^|_)(API_?KEY|TOKEN|SECRET|PASS(WORD|WD)?|PRIVATE_KEY)$"  # noqa: S105 - finds names of secrets
_URL_WITH_USER = "[A-Za-z0-9+.-]://[^/?#@ ]*@"
"""The last letter of the scheme will do: from its first one on, a search would take time by the square of the value."""
_RESERVED_VARIABLE = "^(AGENTSERVICE_.*|BIND_ADDRESS|PORT|ADMIN_PORT)$"

ReplicaCount = Annotated[int, Field(ge=1, le=1000)]
Percentage = Annotated[int, Field(ge=1, le=1000)]
"""Of what the pods request, so it may pass 100."""

Quantity = Annotated[
    Annotated[int, Field(ge=0)]
    | Annotated[
        str,
        Field(
            min_length=1,
            max_length=32,
            pattern=r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$",
        ),
    ],
    IntOrString(),
]
PodCount = Annotated[
    Annotated[int, Field(ge=0, le=1000)]
    | Annotated[str, Field(min_length=2, max_length=4, pattern="^(100|[1-9]?[0-9])%$")],
    IntOrString(),
]
"""A number of pods, or a percentage of the replicas."""
DisruptedPods = Annotated[
    Annotated[int, Field(ge=1, le=1000)]
    | Annotated[str, Field(min_length=2, max_length=4, pattern="^(100|[1-9][0-9]?)%$")],
    IntOrString(),
]
"""At least one pod, since a percentage is rounded up: with none, no node with such a pod could ever be drained."""

Resources = Annotated[dict[str, Quantity], Field(max_length=16), SHORT_KEYS, QUALIFIED_KEYS]


class EnvVarSource(ApiModel):
    """Where the value of an environment variable comes from."""

    secret_key_ref: SecretKeyRef | None = None
    """A key of a Secret. Pods read it when they start: `kubectl rollout restart` after a change."""
    config_map_key_ref: ConfigMapKeyRef | None = None
    """A key of a ConfigMap. Pods read it when they start: `kubectl rollout restart` after a change."""

    rules: ClassVar = (exactly_one_of("secretKeyRef", "configMapKeyRef"),)


class EnvVar(ApiModel):
    """An environment variable of the serving container."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
    """Name of the variable."""
    value: Annotated[str | None, Field(min_length=1, max_length=4096)] = None
    """Literal value, no secret: `$(OTHER)` is not expanded."""
    value_from: EnvVarSource | None = None
    """Reference to the value."""

    rules: ClassVar = (
        exactly_one_of("value", "valueFrom"),
        Cel(
            f"!has(self.value) || !self.name.matches(r'{_SECRET_NAME}')",
            "the name says that the value is a secret: put it into a Secret and use valueFrom.secretKeyRef",
            lambda env: env.value is None or re.search(_SECRET_NAME, env.name) is None,
            ".value",
            "FieldValueForbidden",
        ),
        Cel(
            f"!has(self.value) || !self.value.matches(r'{_URL_WITH_USER}')",
            "the value is a URL with user information: put it into a Secret and use valueFrom.secretKeyRef",
            lambda env: env.value is None or re.search(_URL_WITH_USER, env.value) is None,
            ".value",
            "FieldValueForbidden",
        ),
        Cel(
            f"!self.name.matches(r'{_RESERVED_VARIABLE}')",
            "PORT, ADMIN_PORT, BIND_ADDRESS and names that begin with AGENTSERVICE_ are set by the operator: "
            "choose another name",
            lambda env: re.search(_RESERVED_VARIABLE, env.name) is None,
            ".name",
            "FieldValueForbidden",
        ),
    )


class ResourceRequirements(ApiModel):
    """Compute resources of the serving container."""

    requests: Resources = {}
    """What the scheduler reserves for each pod, by resource name."""
    limits: Resources = {}
    """What each pod may use at most, by resource name."""

    rules: ClassVar = (
        Cel(
            "!has(self.requests) || !has(self.limits) || self.limits.all(name, !(name in self.requests) ||"
            " quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
            "a request is above its limit: lower the request or raise the limit",
            lambda resources: all(
                _number(resources.requests[name]) <= _number(limit)
                for name, limit in resources.limits.items()
                if name in resources.requests
            ),
        ),
    )


class Toleration(ApiModel):
    """A taint that the pods tolerate; fields as in a pod."""

    key: Annotated[str | None, Field(min_length=1, max_length=317)] = None
    """Key of the taint; absent with operator Exists: every taint."""
    operator: Literal["Exists", "Equal"] | None = None
    """How key and value compare with the taint; absent: Equal."""
    value: LabelValue | None = None
    """Value of the taint, with operator Equal."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; absent: all."""
    toleration_seconds: Annotated[int | None, Field(ge=0, le=2_147_483_647)] = None
    """How long a NoExecute taint is tolerated; absent: for ever."""

    rules: ClassVar = (
        Cel(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            "a toleration without a key needs operator Exists",
            lambda toleration: toleration.key is not None or toleration.operator == "Exists",
        ),
        Cel(
            "!has(self.value) || !has(self.operator) || self.operator == 'Equal'",
            "a toleration with operator Exists has no value: remove it",
            lambda toleration: toleration.value is None or toleration.operator != "Exists",
            ".value",
        ),
        Cel(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds needs effect NoExecute",
            lambda toleration: toleration.toleration_seconds is None or toleration.effect == "NoExecute",
            ".tolerationSeconds",
        ),
    )


class LabelSelectorRequirement(ApiModel):
    """A condition on one label."""

    key: Annotated[str, Field(min_length=1, max_length=317)]
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label compares with the values."""
    values: Annotated[list[LabelValue], Field(max_length=32), SetList()] = []
    """Values, with operator In or NotIn."""

    rules: ClassVar = (
        Cel(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "operators In and NotIn need values, Exists and DoesNotExist have none",
            lambda requirement: (requirement.operator in ("In", "NotIn")) == bool(requirement.values),
            ".values",
        ),
    )


class LabelSelector(ApiModel):
    """Selects pods by their labels."""

    match_labels: NodeLabels = {}
    """Labels that a pod has, with these values."""
    match_expressions: Annotated[list[LabelSelectorRequirement], Field(max_length=16), Atomic()] = []
    """Conditions on labels, all of which hold."""


class TopologySpreadConstraint(ApiModel):
    """How evenly the pods are spread over nodes or zones; fields as in a pod."""

    max_skew: Annotated[int, Field(ge=1, le=1000)]
    """Largest difference in pods between two topology domains."""
    topology_key: Annotated[str, Field(min_length=1, max_length=317)]
    """Label of nodes whose value names the domain, such as `topology.kubernetes.io/zone`."""
    when_unsatisfiable: Literal["DoNotSchedule", "ScheduleAnyway"]
    """What happens to a pod that would break the constraint."""
    min_domains: Annotated[int | None, Field(ge=1, le=1000)] = None
    """Fewest domains, with DoNotSchedule."""
    label_selector: LabelSelector | None = None
    """Pods that are counted; absent: the serving pods of this AgentService."""
    match_label_keys: Annotated[list[Annotated[str, Field(max_length=317)]], Field(max_length=8), SetList()] = []
    """Labels of the pod that counted pods must share, such as `pod-template-hash`."""
    node_affinity_policy: Literal["Honor", "Ignore"] | None = None
    """Whether nodes that nodeSelector and affinity rule out count as domains; absent: Honor."""
    node_taints_policy: Literal["Honor", "Ignore"] | None = None
    """Whether tainted nodes count as domains only where tolerated; absent: Ignore."""

    rules: ClassVar = (
        Cel(
            "!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
            "minDomains needs whenUnsatisfiable DoNotSchedule",
            lambda constraint: constraint.min_domains is None or constraint.when_unsatisfiable == "DoNotSchedule",
            ".minDomains",
        ),
    )


class Rollout(ApiModel):
    """How a new revision replaces the old one."""

    max_surge: PodCount = 1
    """Pods above the wanted number during a rollout, as a number or a percentage."""
    max_unavailable: PodCount = 0
    """Pods below the wanted number during a rollout, as a number or a percentage."""
    progress_deadline_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """How long nothing may move before the AgentService counts as stalled."""

    rules: ClassVar = (
        Cel(
            "!(self.maxSurge == 0 || self.maxSurge == '0%')"
            " || !(self.maxUnavailable == 0 || self.maxUnavailable == '0%')",
            "maxSurge and maxUnavailable must not both be 0: no pod could ever be replaced",
            lambda rollout: rollout.max_surge not in (0, "0%") or rollout.max_unavailable not in (0, "0%"),
        ),
    )


class ServiceAccount(ApiModel):
    """Who the pods are. Whoever it is, they get no token of the API server."""

    name: DnsSubdomain | None = None
    """A ServiceAccount that somebody else keeps. Absent: one of the AgentService's own, of its name."""
    annotations: Annotations = {}
    """Further annotations of its own one, such as the role in a cloud."""

    rules: ClassVar = (
        Cel(
            "!has(self.name) || !has(self.annotations) || size(self.annotations) == 0",
            "annotations are for the AgentService's own ServiceAccount: remove them, or remove name",
            lambda account: account.name is None or not account.annotations,
            ".annotations",
            "FieldValueForbidden",
        ),
    )


class TrustBundle(ApiModel):
    """Certificate authorities that are trusted besides the public ones, wherever the pods connect by TLS."""

    config_map_key_ref: ConfigMapKeyRef
    """Key of a ConfigMap with certificates in PEM, at most 512 KiB of them. A new value is rolled out."""


class Runtime(ApiModel):
    """The serving pods."""

    image: Annotated[
        str | None, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9\[][-A-Za-z0-9._/:@\[\]]*$")
    ] = None
    """Image of the agent runtime. Set: pinned, an upgrade of the operator never changes it. Absent: the image of the
    operator's release."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When the kubelet pulls the image."""
    image_pull_secrets: Annotated[list[LocalObjectReference], Field(max_length=16), ListMap("name")] = []
    """Secrets with credentials for the image's registry. Absent: the installation's."""
    resources: ResourceRequirements | None = None
    """Compute resources of the serving container. Absent: the installation's, by default requests of 100m CPU and 192Mi
    memory, a memory limit of 512Mi; set: replaces all of that."""
    env: Annotated[list[EnvVar], Field(max_length=128), ListMap("name")] = []
    """Environment variables of the serving container. Their order means nothing."""
    node_selector: NodeLabels = {}
    """Labels of the nodes that the pods may run on. Absent: the installation's."""
    tolerations: Annotated[list[Annotated[RawObject, RawAs(Toleration)]], Field(max_length=32), Atomic()] = []
    """Taints of nodes that the pods tolerate. Absent: the installation's."""
    affinity: Annotated[RawObject, PreserveUnknown()] = {}
    """Affinity of the pods, raw, as in a pod's spec."""
    topology_spread_constraints: Annotated[
        list[Annotated[RawObject, RawAs(TopologySpreadConstraint)]],
        Field(max_length=8),
        ListMap("topologyKey", "whenUnsatisfiable"),
    ] = []
    """How the pods are spread. Absent: as the scheduler does by default, softly over nodes and zones."""
    priority_class_name: DnsSubdomain | None = None
    """PriorityClass of the pods. Absent: the installation's."""
    service_account: ServiceAccount = ServiceAccount()
    """Who the pods are."""
    trust_bundle: TrustBundle | None = None
    """Certificate authorities that are trusted besides the public ones: of a gateway, of a proxy that opens TLS."""
    pod_labels: Labels = {}
    """Further labels of the pods."""
    pod_annotations: Annotations = {}
    """Further annotations of the pods."""
    max_concurrent_requests: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Requests that one pod serves at the same time; above it requests wait."""
    max_queued_requests: Annotated[int, Field(ge=0, le=10_000)] = 256
    """Requests that wait in one pod; above it the answer is 503 with Retry-After."""
    lame_duck_seconds: Annotated[int, Field(ge=0, le=60)] = 5
    """How long a pod that is going still accepts requests, so that load balancers can take it out."""
    drain_seconds: Annotated[int | None, Field(ge=0, le=3600)] = None
    """How long a pod that is going finishes what it has begun. Absent: requestTimeoutSeconds."""
    rollout: Rollout = Rollout()
    """How a new revision replaces the old one."""
    revision_history_limit: Annotated[int, Field(ge=0, le=50)] = 3
    """Old revisions that are kept for a rollback."""


class Autoscaling(ApiModel):
    """Bounds and targets of a HorizontalPodAutoscaler on the Deployment."""

    min_replicas: ReplicaCount = 1
    """Fewest pods."""
    max_replicas: ReplicaCount
    """Most pods."""
    target_cpu_utilization_percentage: Annotated[Percentage | None, Field(alias="targetCPUUtilizationPercentage")] = (
        None
    )
    """Wanted average CPU use, in percent of the CPU requests. Absent, and no other metric either: 70."""
    target_memory_utilization_percentage: Percentage | None = None
    """Wanted average memory use, in percent of the memory requests."""
    metrics: Annotated[list[Annotated[RawObject, PreserveUnknown()]], Field(max_length=16), Atomic()] = []
    """Further metrics, raw, as in the spec of an autoscaling/v2 HorizontalPodAutoscaler."""
    behavior: Annotated[RawObject, PreserveUnknown()] = {}
    """Scaling behaviour, raw, as in the spec of an autoscaling/v2 HorizontalPodAutoscaler."""

    rules: ClassVar = (
        Cel(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not be above maxReplicas",
            lambda autoscaling: autoscaling.min_replicas <= autoscaling.max_replicas,
            ".minReplicas",
        ),
    )


class Disruption(ApiModel):
    """How many pods may be missing at the same time: bounds evictions, such as the draining of a node."""

    max_unavailable: DisruptedPods = 1
    """Most pods that an eviction may leave missing, as a number or a percentage of the replicas, rounded up. Ready
    tolerates as many. Kept by a PodDisruptionBudget where replicas or autoscaling.maxReplicas is above 1, or where
    replicas is absent, so that others may scale."""


_POWER_OF_TEN = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_POWER_OF_1024 = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


def _number(quantity: int | str) -> Decimal:
    """What a valid quantity stands for. Source of the suffixes: k8s.io/apimachinery resource.Quantity."""
    text = str(quantity)
    suffix = text.lstrip("0123456789.")
    if suffix in _POWER_OF_1024:
        return Decimal(text.removesuffix(suffix)) * Decimal(1024 ** _POWER_OF_1024[suffix])
    if suffix in _POWER_OF_TEN:
        return Decimal(text.removesuffix(suffix)).scaleb(_POWER_OF_TEN[suffix])
    return Decimal(text)  # an exponent, as in 1e3
