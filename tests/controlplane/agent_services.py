"""AgentServices and their children as a test sees them: through the API, as somebody else than the operator."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dev import definitions
from dev.api_client import ApiError
from dev.cluster import Cluster
from dev.process import wait_until

Object = dict[str, Any]

DEFINITIONS = Path(__file__).parent.parent.parent / "crds"
API = "agentservice.dev/v1alpha1"
DEADLINE = 30.0
"""Seconds for what takes below one on an idle machine."""
COLLECTION_DEADLINE = 90.0
"""The garbage collector looks for new kinds every 30 s: on a fresh plane it may not know AgentServices yet."""
CHILDREN = {
    "ServiceAccount": "v1",
    "Secret": "v1",
    "ConfigMap": "v1",
    "PersistentVolumeClaim": "v1",
    "Deployment": "apps/v1",
    "Service": "v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Ingress": "networking.k8s.io/v1",
    "HTTPRoute": "gateway.networking.k8s.io/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "PrometheusRule": "monitoring.coreos.com/v1",
}
"""Every kind of child, and its API version."""
AUTOSCALED = {kind: version for kind, version in CHILDREN.items() if kind != "PersistentVolumeClaim"}
"""Those of an autoscaled AgentService, which has no volume."""
EVERY_CHILD: Object = {
    "autoscaling": {"minReplicas": 1, "maxReplicas": 3},
    "exposure": {"ingress": {"hosts": ["agents.example.com"]}, "httpRoute": {"parentRefs": [{"name": "public"}]}},
}
"""What in a spec asks for them all."""


def install_definitions(cluster: Cluster) -> None:
    """Apply the project's CustomResourceDefinitions and wait until their objects can be asked for."""
    _install(cluster, sorted(DEFINITIONS.glob("*.yaml")))


def install_optional_definitions(cluster: Cluster) -> None:
    """Apply the CustomResourceDefinitions of other projects and wait until their objects can be asked for."""
    _install(cluster, definitions.ensure())


def _install(cluster: Cluster, files: list[Path]) -> None:
    for file in files:
        for definition in yaml.safe_load_all(file.read_text()):
            _wait_served(cluster, cluster.api.apply(definition, force=True))


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


def persistent_volume(name: str) -> Object:
    """A volume of 5Gi for claims of the storage class of that name."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "5Gi"},
            "hostPath": {"path": "/nonexistent"},
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": name,
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
        """Everything that the AgentService of that name controls, now or once; nothing of kinds that are not there."""
        return [
            {**item, "apiVersion": version, "kind": kind}
            for kind, version in CHILDREN.items()
            for item in self._labelled(kind, name)
        ]

    def _labelled(self, kind: str, name: str) -> list[Object]:
        try:
            return self.cluster.api.list(self.path(kind, ""), labelSelector=f"agentservice.dev/service={name}")
        except ApiError as error:
            if error.code != http.client.NOT_FOUND:
                raise
            return []

    def pods(self, name: str = "hello") -> list[Object]:
        """Its pods."""
        return self.cluster.api.list(self.path("Pod", ""), labelSelector=f"agentservice.dev/service={name}")

    def replica_sets(self, name: str = "hello") -> list[Object]:
        """The ReplicaSets of its Deployment: as many as there were revisions."""
        return self.cluster.api.list(self.path("ReplicaSet", ""), labelSelector=f"agentservice.dev/service={name}")

    def everything(self, *names: str) -> list[Object]:
        """AgentServices and all their children."""
        return [item for name in names for item in (self.get(name), *self.children(name))]

    def make_secret(self, name: str, **values: str) -> Object:
        """A Secret that is not ours."""
        return self._make("Secret", name, stringData=values)

    def make_config_map(self, name: str, **values: str) -> Object:
        """A ConfigMap that is not ours."""
        return self._make("ConfigMap", name, data=values)

    def wait_gone(self, name: str = "hello", *, deadline: float = DEADLINE) -> None:
        """Wait until the AgentService itself is gone; its children may still be there."""
        path = self.path("AgentService", name)
        wait_until(
            lambda: self.cluster.api.find(path) is None, deadline=deadline, describe=lambda: self.cluster.api.find(path)
        )

    def wait_ready(self, name: str = "hello", *, reason: str = "Available", deadline: float = DEADLINE) -> Object:
        """Wait until its newest generation is Ready, and return it."""
        return self.wait(lambda service: is_ready(service, reason), name, deadline=deadline)

    def wait_not_ready(self, reason: str, name: str = "hello", *, deadline: float = DEADLINE) -> Object:
        """Wait until it is not Ready for `reason`, and return it."""
        return self.wait(lambda service: verdict(service) == ("False", reason), name, deadline=deadline)

    def wait(self, predicate: Callable[[Object], object], name: str = "hello", *, deadline: float = DEADLINE) -> Object:
        """Wait until `predicate` holds for the AgentService, and return it."""

        def check() -> Object | None:
            service = self.get(name)
            return service if predicate(service) else None

        return wait_until(check, deadline=deadline, describe=lambda: self.describe(name))

    def make_service_account(self, name: str) -> Object:
        """A ServiceAccount that is not ours."""
        return self._make("ServiceAccount", name)

    def _make(self, kind: str, name: str, **content: Any) -> Object:
        metadata = {"name": name, "namespace": self.namespace}
        return self.cluster.api.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, **content}, force=True)

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
    conditions = item.get("status", {}).get("conditions") or []
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
    entries = service.get("status", {}).get("conditions", [])
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in entries}


def spec_of(item: Object) -> Object:
    """What people state in an object, without what the API server and controllers add."""
    stated = {key: value for key, value in item.items() if key not in {"metadata", "status", "apiVersion", "secrets"}}
    spec = {key: value for key, value in stated.get("spec", {}).items() if key not in {"clusterIP", "clusterIPs"}}
    metadata = item["metadata"]
    return {
        **stated,
        "spec": spec,
        "labels": metadata.get("labels"),
        "owners": [reference["uid"] for reference in metadata.get("ownerReferences", [])],
    }


def identity(item: Object) -> str:
    """Kind and name."""
    return f"{item['kind']}/{item['metadata']['name']}"


def versions(items: list[Object]) -> dict[str, tuple[str, str]]:
    """Uid and resourceVersion by kind and name: equal where nothing was written."""
    return {identity(item): (item["metadata"]["uid"], item["metadata"]["resourceVersion"]) for item in items}


def _wait_served(cluster: Cluster, definition: Object) -> None:
    """Established comes a moment before the API server answers for the kind."""
    spec, path = definition["spec"], cluster.api.path_of(definition)
    # Of a namespace without tests: in others there are objects as deep as the API server takes them.
    namespace = "namespaces/default/" if spec["scope"] == "Namespaced" else ""
    served = f"/apis/{spec['group']}/{spec['versions'][0]['name']}/{namespace}{spec['names']['plural']}"

    def is_served() -> bool:
        found = condition(cluster.api.get(path), "Established")
        if found is None or found["status"] != "True":
            return False
        try:
            cluster.api.get(served)
        except ApiError as error:
            if error.code not in {http.client.NOT_FOUND, http.client.TOO_MANY_REQUESTS}:
                raise
            return False
        return True

    wait_until(is_served, deadline=DEADLINE, describe=lambda: cluster.api.get(path).get("status"))
