"""Who may connect to the pods, and where they may connect to (SEC-15)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agentservice_operator.builders.build import build
from agentservice_operator.builders.defaults import AgentDefaults
from agentservice_operator.builders.labels import Object

from tests.unit.builders.services import CONTEXT, agent_service, child

INSTALLED = replace(
    CONTEXT,
    operator_namespace="agents-system",
    defaults=AgentDefaults(gateway_namespaces=["gateway"], monitoring_namespaces=["monitoring", "agents-system"]),
)


def policy(**fields: Any) -> Object:
    return dict(child("NetworkPolicy", agent_service(networkPolicy=fields), INSTALLED)["spec"])


def peers(spec: Object, port: int) -> list[Object]:
    """Who may connect to a port."""
    (found,) = (rule["from"] for rule in spec["ingress"] if [each["port"] for each in rule["ports"]] == [port])
    return list(found)


def pods_of(*namespaces: str) -> Object:
    expression = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
    return {"namespaceSelector": {"matchExpressions": [expression]}}


def test_requests_come_from_this_namespace_the_gateways_and_whom_the_spec_allows() -> None:
    block = {"ipBlock": {"cidr": "192.0.2.0/24"}}

    assert peers(policy(allowFrom=[block]), 8080) == [{"podSelector": {}}, pods_of("gateway"), block]


def test_only_the_operator_and_scrapers_reach_the_admin_port() -> None:
    everybody: list[Object] = [{"podSelector": {}, "namespaceSelector": {}}]

    assert peers(policy(allowFrom=everybody), 9090) == [pods_of("agents-system", "monitoring")]


def test_without_gateways_no_peer_speaks_of_them() -> None:
    spec = child("NetworkPolicy", agent_service(), replace(INSTALLED, defaults=AgentDefaults()))["spec"]

    assert peers(spec, 8080) == [{"podSelector": {}}]


def test_pods_connect_anywhere_until_the_spec_says_where_to() -> None:
    spec = policy()

    assert spec["policyTypes"] == ["Ingress"]
    assert "egress" not in spec


def test_what_the_spec_allows_comes_on_top_of_dns() -> None:
    rule = {"to": [{"podSelector": {"matchLabels": {}}}], "ports": [{"port": 443}, {"port": 53, "protocol": "UDP"}]}

    spec = policy(allowTo=[rule])

    assert spec["policyTypes"] == ["Ingress", "Egress"]
    dns, allowed = spec["egress"]
    assert dns == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}
    assert allowed == {
        "to": [{"podSelector": {}}],
        "ports": [{"port": 443, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
    }


def test_a_policy_can_be_left_to_others() -> None:
    service = agent_service(networkPolicy={"mode": "Disabled"})

    assert "NetworkPolicy" not in [item["kind"] for item in build(service, INSTALLED)]
