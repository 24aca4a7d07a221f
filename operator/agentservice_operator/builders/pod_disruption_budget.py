"""The PodDisruptionBudget over the serving pods."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.labels import Object, child_metadata, selector_labels


def build_pod_disruption_budget(service: AgentService) -> Object | None:
    """The PodDisruptionBudget NAME; None where the spec allows no more than one pod, so that there is nothing to keep.

    Without ``replicas`` the Deployment belongs to whoever scales it, and there may be several pods at any time. A
    budget over a single pod does no harm: ``maxUnavailable`` is at least 1.
    """
    if not _several_possible(service):
        return None
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": child_metadata(service, service.metadata.name),
        "spec": {
            "maxUnavailable": service.spec.disruption.max_unavailable,
            "selector": {"matchLabels": selector_labels(service)},
            # A pod that is not ready protects nothing and must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def _several_possible(service: AgentService) -> bool:
    spec = service.spec
    if spec.state.backend == "Volume":
        return False
    if spec.autoscaling is not None:
        return spec.autoscaling.max_replicas > 1
    return spec.replicas is None or spec.replicas > 1
