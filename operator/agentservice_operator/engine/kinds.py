"""The kinds that the operator keeps as children: where they live in the API and in which wave they are applied."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from agentservice_operator.api.v1alpha1 import types
from agentservice_operator.api.v1alpha1.well_known import OPTIONAL_KINDS


class Wave(IntEnum):
    """Children of one wave are applied side by side; a wave starts when the one before it has ended."""

    PREREQUISITES = 1
    WORKLOAD = 2
    AROUND = 3
    MONITORING = 4
    """Nothing that serves depends on these: one that cannot be written keeps no AgentService from being Ready."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of the Kubernetes API."""

    kind: str
    group: str
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        """``apps/v1``, or ``v1`` in the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of one object, of a namespace's collection, or of the cluster-wide one."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}{scope}/{self.plural}" + "".join(f"/{part}" for part in (name, subresource) if part)


AGENT_SERVICE = Kind(types.KIND, types.GROUP, types.VERSION, types.PLURAL)
CONFIG_MAP = Kind("ConfigMap", "", "v1", "configmaps")
EVENT = Kind("Event", "events.k8s.io", "v1", "events")
DEPLOYMENT = Kind("Deployment", "apps", "v1", "deployments")
HORIZONTAL_POD_AUTOSCALER = Kind("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers")
HTTP_ROUTE = Kind("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes")
INGRESS = Kind("Ingress", "networking.k8s.io", "v1", "ingresses")
NETWORK_POLICY = Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies")
PERSISTENT_VOLUME_CLAIM = Kind("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims")
POD = Kind("Pod", "", "v1", "pods")
POD_DISRUPTION_BUDGET = Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets")
POD_MONITOR = Kind("PodMonitor", "monitoring.coreos.com", "v1", "podmonitors")
PROMETHEUS_RULE = Kind("PrometheusRule", "monitoring.coreos.com", "v1", "prometheusrules")
REPLICA_SET = Kind("ReplicaSet", "apps", "v1", "replicasets")
SECRET = Kind("Secret", "", "v1", "secrets")
SERVICE = Kind("Service", "", "v1", "services")
SERVICE_ACCOUNT = Kind("ServiceAccount", "", "v1", "serviceaccounts")

CHILDREN: dict[Kind, Wave] = {
    SERVICE_ACCOUNT: Wave.PREREQUISITES,
    SECRET: Wave.PREREQUISITES,
    CONFIG_MAP: Wave.PREREQUISITES,
    PERSISTENT_VOLUME_CLAIM: Wave.PREREQUISITES,
    DEPLOYMENT: Wave.WORKLOAD,
    SERVICE: Wave.WORKLOAD,
    HORIZONTAL_POD_AUTOSCALER: Wave.AROUND,
    POD_DISRUPTION_BUDGET: Wave.AROUND,
    NETWORK_POLICY: Wave.AROUND,
    INGRESS: Wave.AROUND,
    HTTP_ROUTE: Wave.AROUND,
    POD_MONITOR: Wave.MONITORING,
    PROMETHEUS_RULE: Wave.MONITORING,
}
"""Every kind of child; a new one is a row here and a builder."""

OPTIONAL: frozenset[Kind] = frozenset(kind for kind in CHILDREN if kind.kind in OPTIONAL_KINDS)

KIND_BY_NAME: dict[str, Kind] = {kind.kind: kind for kind in CHILDREN}


class ServiceKey(NamedTuple):
    """Names one AgentService: the key of the work queue."""

    namespace: str
    name: str


class ChildKey(NamedTuple):
    """Names one child."""

    kind: Kind
    namespace: str
    name: str
