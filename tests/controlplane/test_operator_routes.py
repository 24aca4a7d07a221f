"""Routes from outside the cluster: what the operator makes of them and what it says about them."""

from __future__ import annotations

from dev.cluster import Cluster
from tests.controlplane.agent_services import AgentServices, condition, conditions
from tests.controlplane.operator_process import OperatorProcess, said

HOST = "agents.example.com"


def test_an_ingress_is_told_as_soon_as_a_controller_serves_it_and_costs_nothing_at_rest(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply(exposure={"ingress": {"hosts": [HOST], "tls": {"secretName": "agents-tls"}}})
    ready = services.wait_ready()
    assert conditions(ready)["RouteAccepted"] == ("Unknown", "AddressPending")
    assert ready["status"]["url"] == f"https://{HOST}"

    give_address(cluster, services, "192.0.2.1")
    services.wait(lambda service: conditions(service)["RouteAccepted"] == ("True", "AddressAssigned"))

    operator.settle()
    before = operator.audit.mark()
    give_address(cluster, services, "192.0.2.2")  # as when the controller moves
    operator.settle()
    assert said(operator.writes(since=before)) == []


def test_without_its_ingress_an_agent_service_has_no_external_url(services: AgentServices) -> None:
    services.apply(exposure={"ingress": {"hosts": [HOST]}})
    services.wait_ready()

    services.apply()

    told = services.wait(lambda service: "url" not in service["status"])
    assert condition(told, "RouteAccepted") is None


def give_address(cluster: Cluster, services: AgentServices, address: str) -> None:
    """What an ingress controller does."""
    path = f"{services.path('Ingress')}/status"
    cluster.api.patch(path, {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}})
