"""The NetworkPolicies of the pods that answer callers, and of those that do tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agent_runtime.config import ADMIN_PORT, SERVING_PORT
from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.api.v1alpha1.well_known import SERVER, WORKER
from agentservice_operator.builders import names
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.labels import Object, child_metadata, selector_labels
from agentservice_operator.builders.raw import as_stored

DNS_PORT = 53
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""The label that the API server keeps on every namespace."""


def build_network_policies(service: AgentService, context: BuildContext) -> list[Object]:
    """The NetworkPolicy NAME, and NAME-worker where there are workers; none where the spec wants none.

    Only scrapers may connect to a worker. Probes need no rule: a node may always connect to its own pods.

    Args:
        service: The owner.
        context: Install-wide namespaces.
    """
    policy, name = service.spec.network_policy, service.metadata.name
    if policy.mode == "Disabled":
        return []
    gateways = _namespaces(context.defaults.gateway_namespaces)
    callers = [{"podSelector": {}}, *gateways, *map(_as_stored, policy.allow_from)]
    scrapers = _namespaces({context.operator_namespace, *context.defaults.monitoring_namespaces})
    admin = {"ports": [_port(ADMIN_PORT)], "from": scrapers}
    policies = [_policy(service, SERVER, name, [{"ports": [_port(SERVING_PORT)], "from": callers}, admin])]
    if service.spec.tasks.workers:
        policies.append(_policy(service, WORKER, names.workers(name), [admin]))
    return policies


def _policy(service: AgentService, component: str, name: str, ingress: list[Object]) -> Object:
    spec: Object = {
        "podSelector": {"matchLabels": selector_labels(service, component)},
        "policyTypes": ["Ingress"],
        "ingress": ingress,
    }
    if allow_to := service.spec.network_policy.allow_to:
        dns = {"ports": [_port(DNS_PORT, "UDP"), _port(DNS_PORT)]}
        spec["policyTypes"] = ["Ingress", "Egress"]
        spec["egress"] = [dns, *(_with_protocols(_as_stored(rule)) for rule in allow_to)]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": child_metadata(service, name, component=component),
        "spec": spec,
    }


def _port(number: int, protocol: str = "TCP") -> Object:
    return {"port": number, "protocol": protocol}


def _namespaces(names: Iterable[str]) -> list[Object]:
    """All pods of some namespaces, as one peer; no peer for no name."""
    values = sorted(set(names))
    expression = {"key": NAMESPACE_LABEL, "operator": "In", "values": values}
    return [{"namespaceSelector": {"matchExpressions": [expression]}}] if values else []


def _as_stored(raw: Any) -> Any:
    """A raw part as the server stores it: it drops an empty matchLabels, though not the selector around it."""
    if isinstance(raw, list):
        return [_as_stored(item) for item in raw]
    if not isinstance(raw, dict):
        return raw
    return as_stored({key: _as_stored(value) for key, value in raw.items() if (key, value) != ("matchLabels", {})})


def _with_protocols(rule: Object) -> Object:
    """An egress rule whose ports name the protocol, as the server's defaulting does."""
    ports = rule.get("ports")
    if not isinstance(ports, list):
        return rule
    named = [{"protocol": "TCP", **port} if isinstance(port, dict) else port for port in ports]
    return {**rule, "ports": named}
