"""AgentServices and their children as a test sees them: through the API, as somebody else than the operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from dev.process import wait_until

if TYPE_CHECKING:
    from dev.cluster import Cluster

Object = dict[str, Any]

API = "agentservice.dev/v1alpha1"
DEADLINE = 30.0
"""Seconds for what takes below one on an idle machine."""
CHILDREN = {
    "ServiceAccount": "v1",
    "Secret": "v1",
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "Service": "v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
}
"""Every kind of child, and its API version."""


def agent_service(namespace: str, name: str = "hello", **spec: Any) -> Object:
    """The smallest AgentService, with further or other fields of its spec."""
    return {
        "apiVersion": API,
        "kind": "AgentService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "models": [{"name": "main", "provider": "Echo"}],
            "agents": [{"name": "assistant", "systemPrompt": "You are a helpful assistant."}],
            **spec,
        },
    }


@dataclass(frozen=True)
class AgentServices:
    """The AgentServices of one namespace.

    Args:
        cluster: where.
        namespace: which.
    """

    cluster: Cluster
    namespace: str

    def apply(self, name: str = "hello", **spec: Any) -> Object:
        """Apply the smallest AgentService with these fields; a field that was there before and is not here goes."""
        return self.cluster.api.apply(agent_service(self.namespace, name, **spec), force=True)

    def patch(self, patch: Object, name: str = "hello") -> Object:
        """Merge a patch into an AgentService."""
        return self.cluster.api.patch(self.path("AgentService", name), patch)

    def get(self, name: str = "hello") -> Object:
        """The live AgentService."""
        return self.cluster.api.get(self.path("AgentService", name))

    def delete(self, name: str = "hello", **query: str) -> None:
        """Delete it, and return without waiting."""
        self.cluster.api.delete(self.path("AgentService", name), **query)

    def path(self, kind: str, name: str = "hello") -> str:
        """The path of an object, of a collection where `name` is empty."""
        version = API if kind == "AgentService" else CHILDREN.get(kind) or {"ReplicaSet": "apps/v1", "Pod": "v1"}[kind]
        return self.cluster.api.path(version, kind, namespace=self.namespace, name=name)

    def child(self, kind: str, name: str = "hello") -> Object:
        """A live child by its kind, of the AgentService `name`."""
        found = [item for item in self.children(name) if item["kind"] == kind]
        assert len(found) == 1, f"{len(found)} children of kind {kind}"
        return found[0]

    def children(self, name: str = "hello") -> list[Object]:
        """Everything that the AgentService of that name controls, now or once."""
        return [
            {**item, "apiVersion": version, "kind": kind}
            for kind, version in CHILDREN.items()
            for item in self.cluster.api.list(self.path(kind, ""), labelSelector=f"agentservice.dev/service={name}")
        ]

    def pods(self, name: str = "hello") -> list[Object]:
        """Its pods."""
        return self.cluster.api.list(self.path("Pod", ""), labelSelector=f"agentservice.dev/service={name}")

    def replica_sets(self, name: str = "hello") -> list[Object]:
        """The ReplicaSets of its Deployment: as many as there were revisions."""
        return self.cluster.api.list(self.path("ReplicaSet", ""), labelSelector=f"agentservice.dev/service={name}")

    def wait_ready(self, name: str = "hello", *, reason: str = "Available") -> Object:
        """Wait until its newest generation is Ready, and return it."""
        return self.wait(lambda service: is_ready(service, reason), name)

    def wait_not_ready(self, reason: str, name: str = "hello", *, deadline: float = DEADLINE) -> Object:
        """Wait until it is not Ready for `reason`, and return it."""
        return self.wait(lambda service: verdict(service) == ("False", reason), name, deadline=deadline)

    def wait(self, predicate: Callable[[Object], object], name: str = "hello", *, deadline: float = DEADLINE) -> Object:
        """Wait until `predicate` holds for the AgentService, and return it."""

        def check() -> Object | None:
            service = self.get(name)
            return service if predicate(service) else None

        return wait_until(check, deadline=deadline, describe=lambda: self.describe(name))

    def describe(self, name: str = "hello") -> str:
        """What a person would look at."""
        service = self.cluster.api.find(self.path("AgentService", name))
        deployment = self.cluster.api.find(self.path("Deployment", name))
        shown = {
            "generation": service and service["metadata"]["generation"],
            "status": service and service.get("status"),
            "deployment": deployment and {"replicas": deployment["spec"]["replicas"], **deployment["status"]},
            "children": [f"{item['kind']}/{item['metadata']['name']}" for item in self.children(name)],
            "pods": [{pod["metadata"]["name"]: pod["status"].get("phase")} for pod in self.pods(name)],
        }
        return yaml.safe_dump(shown, sort_keys=False)


def condition(item: Object, kind: str) -> Object | None:
    """A condition by its type."""
    conditions = item.get("status", {}).get("conditions", [])
    return next((entry for entry in conditions if entry["type"] == kind), None)


def verdict(service: Object) -> tuple[str, str] | None:
    """Status and reason of the Ready condition, where it is about the newest generation."""
    ready = condition(service, "Ready")
    if ready is None or service["status"]["observedGeneration"] != service["metadata"]["generation"]:
        return None
    return ready["status"], ready["reason"]


def is_ready(service: Object, reason: str = "Available") -> bool:
    """Whether the newest generation is Ready."""
    return verdict(service) == ("True", reason)


def conditions(service: Object) -> dict[str, tuple[str, str]]:
    """Status and reason of every condition by type."""
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in service["status"]["conditions"]}


def identity(item: Object) -> str:
    """Kind and name."""
    return f"{item['kind']}/{item['metadata']['name']}"


def versions(items: list[Object]) -> dict[str, tuple[str, str]]:
    """uid and resourceVersion by kind and name: equal where nothing was written."""
    return {identity(item): (item["metadata"]["uid"], item["metadata"]["resourceVersion"]) for item in items}
