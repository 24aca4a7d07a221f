"""The Service: the one URL of an AgentService."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.labels import Object, child_metadata, selector_labels

SERVING_PORT_NAME = "http"
AFFINITY_SECONDS = 10_800
"""Kubernetes' own default; sent, because a Service that loses its affinity must lose this with it."""


def build_service(service: AgentService) -> Object:
    """The Service NAME. The admin port is not in it: probes and scrapers go to the pods.

    Ephemeral state is per pod, so a client stays with its pod: said at any replica count, so scaling changes nothing.
    """
    exposure = service.spec.exposure.service
    affinity: Object = {"sessionAffinity": "None"}
    if service.spec.state.backend != "PostgreSQL":
        timeout = {"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}
        affinity = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": timeout}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": child_metadata(service, service.metadata.name, annotations=exposure.annotations),
        "spec": {
            "type": exposure.type,
            "selector": selector_labels(service),
            "ports": [
                {"name": SERVING_PORT_NAME, "port": exposure.port, "protocol": "TCP", "targetPort": SERVING_PORT_NAME}
            ],
            **affinity,
        },
    }
