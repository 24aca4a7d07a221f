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


def test_an_http_route_is_told_as_its_gateways_answer(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices
) -> None:
    route = {"parentRefs": [{"name": "public", "namespace": "gateways"}, {"name": "private"}], "hostnames": [HOST]}
    services.apply(exposure={"httpRoute": route})
    ready = services.wait_ready()
    assert conditions(ready)["RouteAccepted"] == ("Unknown", "GatewayPending")
    assert ready["status"]["url"] == f"https://{HOST}"

    answer_route(cluster, services, public="True", private="False")
    refused = services.wait(lambda service: conditions(service)["RouteAccepted"] == ("False", "RefusedByGateway"))
    told = condition(refused, "RouteAccepted")
    assert told is not None
    assert "private: NotAllowedByListeners: The namespace is not allowed." in told["message"]
    assert "url" not in refused["status"]
    assert conditions(refused)["Ready"] == ("True", "Available")

    answer_route(cluster, services, public="True", private="True")
    accepted = services.wait(lambda service: conditions(service)["RouteAccepted"] == ("True", "Accepted"))
    assert accepted["status"]["url"] == f"https://{HOST}"

    operator.settle()
    before = operator.audit.mark()
    answer_route(cluster, services, public="True", private="True", message="All is well.")
    operator.settle()
    assert said(operator.writes(since=before)) == []


def answer_route(cluster: Cluster, services: AgentServices, *, message: str = "", **accepted: str) -> None:
    """What the controllers of Gateways do."""
    route = services.child("HTTPRoute")
    parents = []
    for ref in route["spec"]["parentRefs"]:
        refused = accepted[ref["name"]] == "False"
        about = {
            "observedGeneration": route["metadata"]["generation"],
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "reason": "NotAllowedByListeners" if refused else "Accepted",
            "message": "The namespace is not allowed." if refused else message,
        }
        told = {"type": "Accepted", "status": accepted[ref["name"]], **about}
        resolved = {**about, "type": "ResolvedRefs", "status": "True", "reason": "ResolvedRefs"}
        parents.append({"parentRef": ref, "controllerName": "example.com/gateway", "conditions": [told, resolved]})
    cluster.api.patch(f"{services.path('HTTPRoute')}/status", {"status": {"parents": parents}})
