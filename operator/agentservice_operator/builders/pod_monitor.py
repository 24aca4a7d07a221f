"""The PodMonitor: tells a Prometheus of the Prometheus operator where the metrics are."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.api.v1alpha1.well_known import SERVICE_LABEL
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.labels import Object, child_metadata
from agentservice_operator.builders.pod_template import ADMIN_PORT_NAME

KIND = "PodMonitor"


def build_pod_monitor(service: AgentService, context: BuildContext) -> Object | None:
    """The PodMonitor NAME; None where the spec wants none, or the API server lacks the kind.

    Every series gets the AgentService's name as the label ``agentservice_dev_service``, which the alerts select by.

    Args:
        service: The owner.
        context: Install-wide labels, and the kinds that there are.
    """
    monitor = service.spec.observability.pod_monitor
    if monitor.mode == "Never" or KIND not in context.served_kinds:
        return None
    endpoint = {"port": ADMIN_PORT_NAME, "path": "/metrics"}
    if monitor.interval is not None:
        endpoint["interval"] = monitor.interval
    labels = {**context.defaults.monitor_labels, **monitor.labels}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": KIND,
        "metadata": child_metadata(service, service.metadata.name, labels=labels),
        "spec": {
            "selector": {"matchLabels": {SERVICE_LABEL: service.metadata.name}},  # those that do tasks, too
            "podTargetLabels": [SERVICE_LABEL],
            "podMetricsEndpoints": [endpoint],
        },
    }
