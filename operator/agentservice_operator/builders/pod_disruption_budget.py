"""The PodDisruptionBudgets over the pods that answer callers, and over those that do tasks."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.api.v1alpha1.well_known import SERVER, WORKER
from agentservice_operator.builders import names
from agentservice_operator.builders.labels import Object, child_metadata, selector_labels


def build_pod_disruption_budgets(service: AgentService) -> list[Object]:
    """The PodDisruptionBudgets NAME and NAME-worker, each only where there can be more than one of its pods.

    Without ``replicas`` the Deployment belongs to whoever scales it, and there may be several pods at any time. A
    budget over a single pod does no harm: ``maxUnavailable`` is at least 1.
    """
    name, budgets = service.metadata.name, []
    if _several_servers_possible(service):
        budgets.append(_budget(service, SERVER, name))
    if service.spec.tasks.workers > 1:
        budgets.append(_budget(service, WORKER, names.workers(name)))
    return budgets


def _budget(service: AgentService, component: str, name: str) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": child_metadata(service, name, component=component),
        "spec": {
            "maxUnavailable": service.spec.disruption.max_unavailable,
            "selector": {"matchLabels": selector_labels(service, component)},
            # A pod that is not ready protects nothing and must not keep a node from being drained.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def _several_servers_possible(service: AgentService) -> bool:
    spec = service.spec
    if spec.state.backend == "Volume":
        return False
    if spec.autoscaling is not None:
        return spec.autoscaling.max_replicas > 1
    return spec.replicas is None or spec.replicas > 1
