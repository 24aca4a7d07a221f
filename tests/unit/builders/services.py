"""AgentServices for the tests of the builders."""

from __future__ import annotations

from typing import Any

from agentservice_operator.api.v1alpha1.parse import parse
from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.build import build
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.labels import Object

CONTEXT = BuildContext(
    runtime_image="agentservice-runtime:test",
    config_map_values={("prompts", "clerk"): "You answer questions about forms."},
)
SPEC: Object = {
    "models": [{"name": "main", "provider": "Echo"}],
    "agents": [{"name": "assistant", "systemPrompt": "You are a helpful assistant."}],
}
SHARED_STATE: Object = {
    "backend": "PostgreSQL",
    "postgreSQL": {"urlFrom": {"secretKeyRef": {"name": "database", "key": "url"}}},
    "redis": {"urlFrom": {"secretKeyRef": {"name": "redis", "key": "url"}}},
}
"""What workers need."""


def agent_service(name: str = "hello", **fields: Any) -> AgentService:
    """The smallest AgentService, or one with other fields in its spec."""
    return parse({"metadata": {"name": name, "namespace": "team-a", "uid": "u-1"}, "spec": {**SPEC, **fields}})


def child(kind: str, service: AgentService, context: BuildContext = CONTEXT) -> Object:
    """The one child of a kind; where there are workers, that of the servers."""
    (found,) = (item for item in _children(kind, service, context) if not item["metadata"]["name"].endswith("-worker"))
    return found


def workers_child(kind: str, service: AgentService, context: BuildContext = CONTEXT) -> Object:
    """The one child of a kind that belongs to the workers."""
    (found,) = (item for item in _children(kind, service, context) if item["metadata"]["name"].endswith("-worker"))
    return found


def _children(kind: str, service: AgentService, context: BuildContext) -> list[Object]:
    return [item for item in build(service, context) if item["kind"] == kind]
