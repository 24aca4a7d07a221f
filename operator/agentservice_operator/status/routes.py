"""What leads to the agents from outside the cluster, and whether anybody has taken it up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from agentservice_operator.api.v1alpha1.conditions import ConditionType, Reason
from agentservice_operator.api.v1alpha1.types import AgentServiceSpec, HTTPRoute, Ingress
from agentservice_operator.status.observed import HTTPRouteFacts, IngressFacts
from agentservice_operator.status.wanted import Wanted

_HTTP_PORT, _HTTPS_PORT = 80, 443


@dataclass(frozen=True, slots=True)
class Routes:
    """What was observed of the routes.

    Args:
        ingress: None where there is no Ingress of ours.
        http_route: None where there is no HTTPRoute of ours.
        http_routes_served: Whether the API server has HTTPRoutes.
        gateways_let_in: Whether the installation lets gateway namespaces through every agent's NetworkPolicy.
    """

    ingress: IngressFacts | None = None
    http_route: HTTPRouteFacts | None = None
    http_routes_served: bool = True
    gateways_let_in: bool = False


class _Said(NamedTuple):
    """What is said of one route."""

    accepted: bool | None
    reason: Reason
    message: str


def external_url(spec: AgentServiceSpec, routes: Routes) -> str | None:
    """The URL under which callers outside the cluster reach the agents, None where there is none to tell.

    An Ingress says whether it is on https. Of an HTTPRoute only the listener would tell, which others own, in a
    namespace that the operator has no rights in: so it is taken from what the parentRef says of it.
    """
    ingress, route = spec.exposure.ingress, spec.exposure.http_route
    if ingress is not None and (host := _first_name(ingress.hosts)):
        return f"{'https' if ingress.tls else 'http'}://{host}{ingress.path.rstrip('/')}"
    if route is not None and (host := _first_name(route.hostnames)) and _of_http_route(routes).accepted is not False:
        return f"{_scheme(route)}://{host}{_port(route)}"
    return None


def route_accepted(spec: AgentServiceSpec, routes: Routes) -> Wanted | None:
    """The condition RouteAccepted, None where the spec asks for no route; of two routes the worse one counts."""
    ingress, route = spec.exposure.ingress, spec.exposure.http_route
    said = [_of_ingress(ingress, routes.ingress)] if ingress else []
    said += [_of_http_route(routes)] if route else []
    if not said:
        return None
    worst = min(said, key=lambda each: (False, None, True).index(each.accepted))
    message = " ".join(each.message for each in said)
    if not _gateways_pass(spec, routes):
        message += (
            " The NetworkPolicy lets in callers of this namespace only: if requests do not arrive, name the gateway's"
            " namespace in agentDefaults.gatewayNamespaces of the chart, or in spec.networkPolicy.allowFrom."
        )
    return Wanted(ConditionType.ROUTE_ACCEPTED, worst.accepted, worst.reason, message)


def _of_ingress(ingress: Ingress, facts: IngressFacts | None) -> _Said:
    """An address is all that a controller says of an Ingress, and some never say it: its absence proves nothing."""
    if facts is not None and facts.has_address:
        return _Said(
            accepted=True, reason=Reason.ADDRESS_ASSIGNED, message="A controller has given the Ingress an address."
        )
    whose = f"of class {ingress.class_name}" if ingress.class_name else "of the cluster's default class"
    return _Said(
        accepted=None,
        reason=Reason.ADDRESS_PENDING,
        message=f"No controller has given the Ingress an address: check that one {whose} runs; some serve it without.",
    )


def _of_http_route(routes: Routes) -> _Said:
    if not routes.http_routes_served:
        message = (
            "The API server has no HTTPRoute, or the operator may not list it: install the CustomResourceDefinitions of"
            " the Gateway API, and the HTTPRoute will be made."
        )
        return _Said(accepted=False, reason=Reason.KIND_NOT_AVAILABLE, message=message)
    gateways = routes.http_route.gateways if routes.http_route else ()
    if refusals := [f"{each.name}: {each.refusal}" for each in gateways if each.accepts is False]:
        message = f"The HTTPRoute is refused by Gateway {'; by '.join(refusals)}"
        return _Said(accepted=False, reason=Reason.REFUSED_BY_GATEWAY, message=message)
    if silent := [each.name for each in gateways if each.accepts is None]:
        names = ", ".join(silent)
        message = f"No answer yet of Gateway {names}: check that it exists and that its controller runs."
        return _Said(accepted=None, reason=Reason.GATEWAY_PENDING, message=message)
    if not gateways:
        return _Said(accepted=None, reason=Reason.GATEWAY_PENDING, message="The HTTPRoute is not there yet.")
    return _Said(accepted=True, reason=Reason.ACCEPTED, message="All Gateways accept the HTTPRoute.")


def _first_name(hosts: list[str]) -> str | None:
    return next((host for host in hosts if not host.startswith("*")), None)


def _scheme(route: HTTPRoute) -> str:
    parent = route.parent_refs[0]
    section = parent.section_name or ""
    plain = parent.port == _HTTP_PORT or (section.startswith("http") and not section.startswith("https"))
    return "http" if plain else "https"


def _port(route: HTTPRoute) -> str:
    port = route.parent_refs[0].port
    return "" if port in (None, _HTTP_PORT, _HTTPS_PORT) else f":{port}"


def _gateways_pass(spec: AgentServiceSpec, routes: Routes) -> bool:
    policy = spec.network_policy
    return policy.mode == "Disabled" or bool(policy.allow_from) or routes.gateways_let_in
