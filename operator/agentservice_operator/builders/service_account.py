"""The ServiceAccount that the pods run as: an identity of its own, without rights and without a token."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.labels import Object, child_metadata


def build_service_account(service: AgentService) -> Object:
    """The ServiceAccount NAME."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": child_metadata(service, service.metadata.name),
        "automountServiceAccountToken": False,
    }
