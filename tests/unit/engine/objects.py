"""Live objects, as small as a test needs them."""

from __future__ import annotations

from typing import Any

from agentservice_operator.engine.cache import Service, service_projection
from agentservice_operator.engine.kinds import ServiceKey
from agentservice_operator.engine.ports import Object
from agentservice_operator.engine.queue import Priority
from agentservice_operator.status.events import Occurrence

NAMESPACE = "team-a"
HELLO = ServiceKey(NAMESPACE, "hello")
OTHER = ServiceKey(NAMESPACE, "other")


class Woken(list[tuple[ServiceKey, Priority]]):
    """Remembers who was woken."""

    def __call__(self, key: ServiceKey, priority: Priority) -> None:
        """A ``cache.Wake``."""
        self.append((key, priority))

    def keys(self) -> list[ServiceKey]:
        """Who was woken since the last question."""
        keys = [key for key, _ in self]
        self.clear()
        return keys


class Recorded(list[Occurrence]):
    """A ``ports.Recorder`` that remembers what happened."""

    def record(self, about: ServiceKey, uid: str, occurrence: Occurrence) -> None:
        """Note it."""
        assert about == HELLO
        assert uid
        self.append(occurrence)

    def told(self) -> list[tuple[str, str]]:
        """Type and reason of what happened since the last question."""
        told = [(str(each.type), str(each.reason)) for each in self]
        self.clear()
        return told


def config_map(
    name: str = "hello-config", version: int = 10, *, service: str = "hello", namespace: str = NAMESPACE, **meta: Any
) -> Object:
    """A ConfigMap that carries the label of an AgentService."""
    return {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": f"uid-of-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-11-21T00:00:00Z",
            "labels": {"agentservice.dev/service": service},
            "ownerReferences": [{"uid": "u-1", "controller": True, "kind": "AgentService", "name": service}],
            **meta,
        }
    }


def deployment(version: int = 10, *, spec: Object | None = None, status: Object | None = None, **meta: Any) -> Object:
    """A Deployment of the AgentService hello."""
    return {
        **config_map("hello", version, **{"generation": 1, **meta}),
        "spec": {"replicas": 1, **(spec or {})},
        "status": status or {},
    }


def agent_service(
    version: int = 10, *, spec: Object | None = None, status: Object | None = None, **meta: Any
) -> Object:
    """The AgentService hello."""
    return {
        "apiVersion": "agentservice.dev/v1alpha1",
        "kind": "AgentService",
        "metadata": {
            "namespace": NAMESPACE,
            "name": "hello",
            "uid": "u-1",
            "resourceVersion": str(version),
            "generation": 1,
            **meta,
        },
        "spec": {
            "models": [{"name": "main", "provider": "Echo"}],
            "agents": [{"name": "assistant", "systemPrompt": "Help."}],
            **(spec or {}),
        },
        "status": status or {},
    }


def known_service(version: int = 10, **parts: Any) -> Service:
    """The AgentService hello as the caches remember it."""
    return service_projection(agent_service(version, **parts))
