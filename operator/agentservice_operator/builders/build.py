"""From an AgentService to its children: one pure function that everything else calls."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.config_map import build_config_map
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.deployment import build_deployments
from agentservice_operator.builders.horizontal_pod_autoscaler import build_horizontal_pod_autoscaler
from agentservice_operator.builders.http_route import build_http_route
from agentservice_operator.builders.ingress import build_ingress
from agentservice_operator.builders.labels import Object
from agentservice_operator.builders.network_policy import build_network_policies
from agentservice_operator.builders.persistent_volume_claim import build_persistent_volume_claim
from agentservice_operator.builders.pod_disruption_budget import build_pod_disruption_budgets
from agentservice_operator.builders.pod_monitor import build_pod_monitor
from agentservice_operator.builders.prometheus_rule import build_prometheus_rule
from agentservice_operator.builders.secret import build_api_keys_secret
from agentservice_operator.builders.service import build_service
from agentservice_operator.builders.service_account import build_service_account


def build(service: AgentService, context: BuildContext) -> list[Object]:
    """The children of an AgentService in the order in which they are applied: equal input gives equal bytes.

    Args:
        service: The parent; valid, as the API server or ``parse`` let it through.
        context: Install-wide defaults and the content of what the spec refers to.

    Raises:
        UnresolvedReference: ``context`` lacks what a ConfigMap key holds that goes into the configuration or the pods.
    """
    config_map = build_config_map(service, context)
    autoscaling, ingress = service.spec.autoscaling, service.spec.exposure.ingress
    children = [
        build_service_account(service),
        build_api_keys_secret(service),
        config_map,
        build_persistent_volume_claim(service),
        *build_deployments(service, context, config_map=config_map["metadata"]["name"]),
        build_service(service),
        build_horizontal_pod_autoscaler(service, autoscaling) if autoscaling else None,
        *build_pod_disruption_budgets(service),
        *build_network_policies(service, context),
        build_ingress(service, ingress) if ingress else None,
        build_http_route(service, context),
        build_pod_monitor(service, context),
        build_prometheus_rule(service, context),
    ]
    return [child for child in children if child is not None]
