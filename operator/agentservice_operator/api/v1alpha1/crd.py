"""AgentService as a custom resource: names, subresources, columns of kubectl."""

from __future__ import annotations

from agentservice_operator.api.crdgen import PrinterColumn, Resource, Scale
from agentservice_operator.api.v1alpha1.status import AgentServiceStatus
from agentservice_operator.api.v1alpha1.types import GROUP, KIND, PLURAL, VERSION, AgentService, AgentServiceSpec

AGENT_SERVICE = Resource(
    group=GROUP,
    version=VERSION,
    kind=KIND,
    plural=PLURAL,
    short_names=("agsvc",),
    categories=("agents",),
    description="A service that serves one or several AI agents.",
    spec=AgentServiceSpec,
    status=AgentServiceStatus,
    status_default={"observedGeneration": -1},
    rules=AgentService.rules,
    columns=(
        PrinterColumn(
            "Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether the observed spec serves completely."
        ),
        PrinterColumn("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why it is ready or not."),
        PrinterColumn("Replicas", ".status.replicas", "Pods that exist.", type="integer"),
        PrinterColumn("Model", ".status.model", "What agents run on unless they name another model."),
        PrinterColumn("Address", ".status.address.url", "Where the agents answer inside the cluster.", priority=1),
        PrinterColumn("URL", ".status.url", "Where the agents answer outside the cluster.", priority=1),
        PrinterColumn("Age", ".metadata.creationTimestamp", "Time since creation.", type="date"),
    ),
    scale=Scale(spec_replicas=".spec.replicas", status_replicas=".status.replicas", label_selector=".status.selector"),
)
