"""What all children have in common: labels, inherited metadata, the owner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentservice_operator.api.v1alpha1.types import API_VERSION, KIND, AgentService
from agentservice_operator.api.v1alpha1.well_known import COMPONENT_LABEL, SERVER, SERVICE_LABEL

Object = dict[str, Any]
"""A Kubernetes object, or a part of one, as JSON."""

APPLICATION = "agentservice-runtime"
MANAGED_BY = "agentservice-operator"
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
"""Selects every child, and the ReplicaSets and pods that the Deployments make."""


def selector_labels(service: AgentService, component: str = SERVER) -> dict[str, str]:
    """What selects the pods of a component; a Deployment's selector cannot change, so this never does."""
    return {SERVICE_LABEL: service.metadata.name, COMPONENT_LABEL: component}


def common_labels(service: AgentService, component: str = SERVER) -> dict[str, str]:
    """The labels of every child and of the pods.

    Neither app.kubernetes.io/instance nor a copy of the AgentService's labels: Argo CD takes an object with its
    tracking label for a part of the application and would prune it.
    """
    return {
        "app.kubernetes.io/name": APPLICATION,
        MANAGED_BY_LABEL: MANAGED_BY,
        **selector_labels(service, component),
    }


def sorted_map(entries: dict[str, str]) -> dict[str, str]:
    """A map whose text does not depend on the order in which users wrote it."""
    return dict(sorted(entries.items()))


def child_metadata(
    service: AgentService,
    name: str,
    *,
    component: str = SERVER,
    labels: Mapping[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    owned: bool = True,
) -> Object:
    """The metadata of a child in the AgentService's namespace.

    Args:
        service: The owner; one without a uid (read from a file) gives a child without an owner.
        name: Name of the child.
        component: What the child is for.
        labels: The child's own ones besides the common ones, in place of inherited ones.
        annotations: The child's own ones; they win over inherited ones.
        owned: Whether the child goes with its AgentService.
    """
    inherited = service.spec.inherited_metadata
    chosen = inherited.labels if labels is None else labels
    metadata: Object = {
        "name": name,
        "namespace": service.metadata.namespace,
        "labels": sorted_map({**chosen, **common_labels(service, component)}),
    }
    if merged := {**inherited.annotations, **(annotations or {})}:
        metadata["annotations"] = sorted_map(merged)
    if owned and service.metadata.uid:
        metadata["ownerReferences"] = [_owner_reference(service)]
    return metadata


def _owner_reference(service: AgentService) -> Object:
    # blockOwnerDeletion stays out: where the admission plugin OwnerReferencesPermissionEnforcement is on, setting it
    # needs the right to change finalizers of the owner.
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": service.metadata.name,
        "uid": service.metadata.uid,
        "controller": True,
    }
