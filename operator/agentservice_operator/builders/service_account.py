"""The ServiceAccount that the pods run as: an identity of its own, without rights and without a token."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.labels import Object, child_metadata


def build_service_account(service: AgentService) -> Object | None:
    """The ServiceAccount NAME, None where the pods run as one that somebody else keeps."""
    account = service.spec.runtime.service_account
    if account.name is not None:
        return None
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": child_metadata(service, service.metadata.name, annotations=account.annotations),
        "automountServiceAccountToken": False,
    }
