"""The HTTPRoute to the Service."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService, ParentRef
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.labels import Object, child_metadata

KIND = "HTTPRoute"
MARGIN_SECONDS = 30
"""For the way of a request and its wait for a place: the agents' own answer to one that takes too long comes first."""


def build_http_route(service: AgentService, context: BuildContext) -> Object | None:
    """The HTTPRoute NAME; None where the spec wants none, or the API server lacks the kind.

    Without a timeout a gateway has its own, of 15 s where it is an Envoy, and cuts off longer answers, also streams.

    Args:
        service: The owner.
        context: The kinds that there are.
    """
    route = service.spec.exposure.http_route
    if route is None or KIND not in context.served_kinds:
        return None
    backend = {"group": "", "kind": "Service", "name": service.metadata.name, "weight": 1}
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "backendRefs": [{**backend, "port": service.spec.exposure.service.port}],
        "timeouts": {"request": f"{service.spec.request_timeout_seconds + MARGIN_SECONDS}s"},
    }
    spec: Object = {"parentRefs": [_parent(ref) for ref in route.parent_refs], "rules": [rule]}
    if route.hostnames:
        spec["hostnames"] = list(route.hostnames)
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": KIND,
        "metadata": child_metadata(service, service.metadata.name),
        "spec": spec,
    }


def _parent(ref: ParentRef) -> Object:
    optional = {"namespace": ref.namespace, "sectionName": ref.section_name, "port": ref.port}
    named = {name: value for name, value in optional.items() if value is not None}
    return {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": ref.name, **named}
