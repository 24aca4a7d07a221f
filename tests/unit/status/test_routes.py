"""The external URL and the condition RouteAccepted."""

from __future__ import annotations

from typing import Any

import pytest
from agentservice_operator.status.compute import compute
from agentservice_operator.status.observed import IngressFacts, ingress_facts
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
    assert external_url(spec(**fields)) == url


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
