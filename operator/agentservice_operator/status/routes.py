"""What leads to the agents from outside the cluster, and whether anybody has taken it up."""

from __future__ import annotations

from dataclasses import dataclass

from agentservice_operator.api.v1alpha1.conditions import ConditionType, Reason
from agentservice_operator.api.v1alpha1.types import AgentServiceSpec, Ingress
from agentservice_operator.status.observed import IngressFacts
from agentservice_operator.status.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Routes:
    """What was observed of the routes.

    Args:
        ingress: None where there is no Ingress of ours.
        gateways_let_in: Whether the installation lets gateway namespaces through every agent's NetworkPolicy.
    """

    ingress: IngressFacts | None = None
    gateways_let_in: bool = False


def external_url(spec: AgentServiceSpec) -> str | None:
    """The URL under which callers outside the cluster reach the agents, None where there is none to tell."""
    ingress = spec.exposure.ingress
    host = next((host for host in ingress.hosts if not host.startswith("*")), None) if ingress else None
    if ingress is None or host is None:
        return None
    return f"{'https' if ingress.tls else 'http'}://{host}{ingress.path.rstrip('/')}"


def route_accepted(spec: AgentServiceSpec, routes: Routes) -> Wanted | None:
    """The condition RouteAccepted, None where the spec asks for no route."""
    ingress = spec.exposure.ingress
    if ingress is None:
        return None
    true, reason, message = _of_ingress(ingress, routes.ingress)
    if not _gateways_pass(spec, routes):
        message += (
            " The NetworkPolicy lets in callers of this namespace only: if requests do not arrive, name the gateway's"
            " namespace in agentDefaults.gatewayNamespaces of the chart, or in spec.networkPolicy.allowFrom."
        )
    return Wanted(ConditionType.ROUTE_ACCEPTED, true, reason, message)


def _of_ingress(ingress: Ingress, facts: IngressFacts | None) -> tuple[bool | None, Reason, str]:
    """An address is all that a controller says of an Ingress, and some never say it: its absence proves nothing."""
    if facts is not None and facts.has_address:
        return True, Reason.ADDRESS_ASSIGNED, "A controller has given the Ingress an address."
    whose = f"of class {ingress.class_name}" if ingress.class_name else "of the cluster's default class"
    return (
        None,
        Reason.ADDRESS_PENDING,
        f"No controller has given the Ingress an address: check that one {whose} runs; some serve it without.",
    )


def _gateways_pass(spec: AgentServiceSpec, routes: Routes) -> bool:
    policy = spec.network_policy
    return policy.mode == "Disabled" or bool(policy.allow_from) or routes.gateways_let_in
