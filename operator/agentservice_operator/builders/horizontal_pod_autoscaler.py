"""The HorizontalPodAutoscaler on the Deployment."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService, Autoscaling
from agentservice_operator.builders.labels import Object, child_metadata
from agentservice_operator.builders.raw import as_stored

DEFAULT_CPU_PERCENT = 70
"""Target where a spec names no metric at all."""


def build_horizontal_pod_autoscaler(service: AgentService, autoscaling: Autoscaling) -> Object:
    """The HorizontalPodAutoscaler NAME.

    Args:
        service: The owner.
        autoscaling: Its ``spec.autoscaling``.
    """
    spec: Object = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": service.metadata.name},
        "minReplicas": autoscaling.min_replicas,
        "maxReplicas": autoscaling.max_replicas,
        "metrics": _metrics(autoscaling),
    }
    if autoscaling.behavior:
        spec["behavior"] = as_stored(autoscaling.behavior)
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": child_metadata(service, service.metadata.name),
        "spec": spec,
    }


def _metrics(autoscaling: Autoscaling) -> list[Object]:
    cpu, memory = autoscaling.target_cpu_utilization_percentage, autoscaling.target_memory_utilization_percentage
    if cpu is None and memory is None and not autoscaling.metrics:
        cpu = DEFAULT_CPU_PERCENT
    utilization = [(name, percent) for name, percent in (("cpu", cpu), ("memory", memory)) if percent is not None]
    return [
        *(
            {
                "type": "Resource",
                "resource": {"name": name, "target": {"type": "Utilization", "averageUtilization": percent}},
            }
            for name, percent in utilization
        ),
        *(as_stored(metric) for metric in autoscaling.metrics),
    ]
