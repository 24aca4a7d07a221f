"""The Ingress to the Service."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService, Ingress
from agentservice_operator.builders.labels import Object, child_metadata
from agentservice_operator.builders.service import SERVING_PORT_NAME


def build_ingress(service: AgentService, ingress: Ingress) -> Object:
    """The Ingress NAME.

    No controller's own annotations: event streams carry what keeps proxies from buffering them.

    Args:
        service: The owner.
        ingress: Its ``spec.exposure.ingress``.
    """
    backend = {"service": {"name": service.metadata.name, "port": {"name": SERVING_PORT_NAME}}}
    paths = [{"path": ingress.path, "pathType": "Prefix", "backend": backend}]
    spec: Object = {"rules": [{"host": host, "http": {"paths": paths}} for host in ingress.hosts]}
    if ingress.class_name:
        spec["ingressClassName"] = ingress.class_name
    if ingress.tls:
        secret = {"secretName": ingress.tls.secret_name} if ingress.tls.secret_name else {}
        spec["tls"] = [{"hosts": list(ingress.hosts), **secret}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": child_metadata(service, service.metadata.name, annotations=ingress.annotations),
        "spec": spec,
    }
