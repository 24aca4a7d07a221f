"""The external URL and the condition RouteAccepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from agentservice_operator.status.compute import compute
from agentservice_operator.status.observed import (
    GatewayFacts,
    HTTPRouteFacts,
    IngressFacts,
    http_route_facts,
    ingress_facts,
)
from agentservice_operator.status.routes import Routes, external_url, route_accepted

from tests.unit.status.observations import deployment, situation, spec

HOST = "agents.example.com"


def ingress(**fields: Any) -> dict[str, Any]:
    return {"exposure": {"ingress": {"hosts": [HOST], **fields}}}


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, None),
        (ingress(), f"http://{HOST}"),
        (ingress(tls={}), f"https://{HOST}"),
        (ingress(path="/support/"), f"http://{HOST}/support"),
        (ingress(hosts=["*.example.com", HOST, "other.example.com"]), f"http://{HOST}"),
        (ingress(hosts=["*.example.com"]), None),
    ],
    ids=str,
)
def test_the_url_is_that_of_the_first_host_with_a_name(fields: dict[str, Any], url: str | None) -> None:
    assert external_url(spec(**fields), Routes()) == url


def test_without_a_route_nothing_is_said() -> None:
    assert route_accepted(spec(), Routes()) is None


def test_an_ingress_with_an_address_is_accepted() -> None:
    wanted = route_accepted(spec(**ingress()), Routes(ingress=IngressFacts(has_address=True), gateways_let_in=True))

    assert wanted is not None
    assert (wanted.true, wanted.reason) == (True, "AddressAssigned")
    assert "NetworkPolicy" not in wanted.message


@pytest.mark.parametrize("facts", [None, IngressFacts(has_address=False)])
def test_an_ingress_without_an_address_may_be_served_all_the_same(facts: IngressFacts | None) -> None:
    wanted = route_accepted(spec(**ingress(className="nginx")), Routes(ingress=facts))

    assert wanted is not None
    assert (wanted.true, wanted.reason) == (None, "AddressPending")
    assert "nginx" in wanted.message


@pytest.mark.parametrize(
    ("policy", "let_in", "told"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"mode": "Disabled"}, False, False),
        ({"allowFrom": [{"namespaceSelector": {}}]}, False, False),
    ],
    ids=str,
)
def test_a_network_policy_that_lets_no_gateway_in_is_told(
    policy: dict[str, Any],
    let_in: bool,  # noqa: FBT001 - a value of the table
    told: bool,  # noqa: FBT001 - the expected value
) -> None:
    wanted = route_accepted(spec(**ingress(), networkPolicy=policy), Routes(gateways_let_in=let_in))

    assert wanted is not None
    assert ("agentDefaults.gatewayNamespaces" in wanted.message) == told


def test_a_route_that_nobody_took_up_yet_keeps_nothing_from_being_ready() -> None:
    status = compute(situation(deployment(1), spec=spec(**ingress(tls={})))).status

    conditions = {entry["type"]: entry["status"] for entry in status["conditions"]}
    assert conditions == {"Ready": "True", "RouteAccepted": "Unknown"}
    assert status["url"] == f"https://{HOST}"


@pytest.mark.parametrize(
    ("status", "addressed"),
    [
        ({}, False),
        ({"loadBalancer": {}}, False),
        ({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}, True),
        ({"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}, True),
    ],
    ids=str,
)
def test_of_an_ingress_only_that_it_has_an_address_is_kept(
    status: dict[str, Any],
    addressed: bool,  # noqa: FBT001 - the expected value
) -> None:
    assert ingress_facts({"status": status}) == IngressFacts(has_address=addressed)


def http_route(*parents: dict[str, Any], hostnames: tuple[str, ...] = (HOST,)) -> dict[str, Any]:
    refs = list(parents) or [{"name": "public"}]
    return {"exposure": {"httpRoute": {"parentRefs": refs, "hostnames": list(hostnames)}}}


def gateways(accepted: Sequence[bool | None]) -> Routes:
    facts = tuple(GatewayFacts(f"team-a/g{n}", each, "Why: because.") for n, each in enumerate(accepted))
    return Routes(http_route=HTTPRouteFacts(facts), gateways_let_in=True)


@pytest.mark.parametrize(
    ("parent", "url"),
    [
        ({}, f"https://{HOST}"),
        ({"port": 443}, f"https://{HOST}"),
        ({"port": 8443}, f"https://{HOST}:8443"),
        ({"port": 80}, f"http://{HOST}"),
        ({"sectionName": "https-public"}, f"https://{HOST}"),
        ({"sectionName": "http"}, f"http://{HOST}"),
        ({"sectionName": "http", "port": 8080}, f"http://{HOST}:8080"),
    ],
    ids=str,
)
def test_the_url_of_an_http_route_has_what_its_parent_tells_of_the_listener(parent: dict[str, Any], url: str) -> None:
    assert external_url(spec(**http_route({"name": "public", **parent}, {"name": "other"})), gateways([None])) == url


ACCEPTED = gateways([True])


def test_an_http_route_without_a_name_of_its_own_has_no_url() -> None:
    assert external_url(spec(**http_route(hostnames=())), ACCEPTED) is None
    assert external_url(spec(**http_route(hostnames=("*.example.com",))), ACCEPTED) is None


@pytest.mark.parametrize(
    ("accepted", "verdict"),
    [
        ([True], (True, "Accepted")),
        ([True, True], (True, "Accepted")),
        ([True, None], (None, "GatewayPending")),
        ([None, False], (False, "RefusedByGateway")),
        ([], (None, "GatewayPending")),
    ],
    ids=str,
)
def test_an_http_route_is_accepted_once_all_gateways_say_so(
    accepted: list[bool | None], verdict: tuple[bool | None, str]
) -> None:
    routes = gateways(accepted)

    wanted = route_accepted(spec(**http_route()), routes)

    assert wanted is not None
    assert (wanted.true, wanted.reason) == verdict
    assert ("Why: because." in wanted.message) == (verdict[0] is False)
    assert (external_url(spec(**http_route()), routes) is None) == (verdict[0] is False)


def test_a_cluster_without_http_routes_is_told_and_keeps_nothing_from_being_ready() -> None:
    routes = Routes(http_routes_served=False)

    status = compute(situation(deployment(1), spec=spec(**http_route()), routes=routes)).status

    conditions = {entry["type"]: (entry["status"], entry["reason"]) for entry in status["conditions"]}
    assert conditions == {"Ready": ("True", "Available"), "RouteAccepted": ("False", "KindNotAvailable")}
    assert "url" not in status


def test_of_two_routes_the_worse_one_is_told_and_the_better_one_still_leads_somewhere() -> None:
    both = {"exposure": {**ingress()["exposure"], **http_route()["exposure"]}}
    routes = Routes(ingress=IngressFacts(has_address=True), http_route=gateways([False]).http_route)

    wanted = route_accepted(spec(**both), routes)

    assert wanted is not None
    assert (wanted.true, wanted.reason) == (False, "RefusedByGateway")
    assert external_url(spec(**both), routes) == f"http://{HOST}"


def answer(
    accepted: str, resolved: str = "True", *, generation: int = 2, controller: str = "a", **ref: Any
) -> dict[str, Any]:
    """What a controller reports about a parent of a route."""
    conditions = [
        {"type": kind, "status": status, "reason": "Why", "message": "because.", "observedGeneration": generation}
        for kind, status in (("Accepted", accepted), ("ResolvedRefs", resolved))
    ]
    return {"parentRef": {"name": "public", **ref}, "controllerName": controller, "conditions": conditions}


@pytest.mark.parametrize(
    ("answers", "accepts", "refusal"),
    [
        ([], None, ""),
        ([answer("True")], True, ""),
        ([answer("True", namespace="team-a")], True, ""),
        ([answer("Unknown")], None, ""),
        ([answer("False")], False, "Why: because."),
        ([answer("True", "False")], False, "Why: because."),
        ([answer("True", generation=1)], None, ""),
        ([answer("True", name="other")], None, ""),
        ([answer("True", sectionName="https")], None, ""),
        ([answer("False"), answer("True", controller="b")], True, ""),
    ],
)
def test_the_answers_of_controllers_are_those_about_the_newest_spec_and_the_same_parent(
    answers: list[dict[str, Any]],
    accepts: bool | None,  # noqa: FBT001 - the expected value
    refusal: str,
) -> None:
    facts = http_route_facts(
        {
            "metadata": {"namespace": "team-a", "generation": 2},
            "spec": {"parentRefs": [{"name": "public"}]},
            "status": {"parents": answers},
        }
    )

    assert facts == HTTPRouteFacts((GatewayFacts("team-a/public", accepts, refusal),))
