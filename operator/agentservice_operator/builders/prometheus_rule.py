"""The PrometheusRule: alerts on what the pods count, each with a section of the runbooks."""

from __future__ import annotations

from dataclasses import dataclass

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.api.v1alpha1.well_known import SERVICE_LABEL
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.labels import Object, child_metadata

KIND = "PrometheusRule"
RUNBOOK = "https://github.com/agentservice/agentservice/blob/main/docs/runbooks/agents.md"
SERIES_LABEL = SERVICE_LABEL.translate(str.maketrans("./", "__"))
"""What Prometheus makes of the pods' label: the PodMonitor puts it on every series."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert on one AgentService.

    Args:
        name: CamelCase; in lower case the anchor of its section in the runbook.
        severity: ``critical`` where callers get no answers, else ``warning``.
        lasting: how long it must hold, as Prometheus writes it.
        expression: PromQL; ``%`` stands for the matchers of the AgentService.
        summary: What is wrong, to follow the AgentService's name.
        description: What is known of it; a template of Prometheus.
    """

    name: str
    severity: str
    lasting: str
    expression: str
    summary: str
    description: str


ALERTS = (
    Alert(
        name="AgentServiceErrorRatioHigh",
        severity="critical",
        lasting="5m",
        expression="""\
sum(rate(agent_requests_total{%,agent!="",status=~"5.."}[10m]))
  / sum(rate(agent_requests_total{%,agent!=""}[10m])) > 0.1
and sum(increase(agent_requests_total{%,agent!="",status=~"5.."}[10m])) >= 5
""",
        summary="answers many requests with an error",
        description="{{ $value | humanizePercentage }} of the requests of the last 10 minutes failed.",
    ),
    Alert(
        name="AgentServiceModelKeyRefused",
        severity="critical",
        lasting="1m",
        expression="""\
sum by (model) (increase(agent_model_calls_total{%,outcome="upstream_unauthorized"}[10m])) > 0
""",
        summary="uses a key that its model provider refuses",
        description="The provider refused the key of the model {{ $labels.model }}.",
    ),
    Alert(
        name="AgentServiceModelCallsFailing",
        severity="warning",
        lasting="5m",
        expression="""\
sum by (model) (rate(agent_model_calls_total{%,outcome!~"ok|canceled"}[10m]))
  / sum by (model) (rate(agent_model_calls_total{%,outcome!="canceled"}[10m])) > 0.2
and sum by (model) (increase(agent_model_calls_total{%,outcome!~"ok|canceled"}[10m])) >= 5
""",
        summary="has trouble with a model provider",
        description="{{ $value | humanizePercentage }} of the calls of the model {{ $labels.model }} failed.",
    ),
    Alert(
        name="AgentServiceFirstTokenSlow",
        severity="warning",
        lasting="15m",
        expression="""\
histogram_quantile(0.99, sum by (model, le) (rate(agent_time_to_first_token_seconds_bucket{%}[15m]))) > 15
and sum by (model) (increase(agent_time_to_first_token_seconds_count{%}[15m])) >= 20
""",
        summary="begins its answers late",
        description="One in 100 answers of the model {{ $labels.model }} begins after {{ $value | humanizeDuration }}.",
    ),
    Alert(
        name="AgentServiceRequestsWaiting",
        severity="warning",
        lasting="10m",
        expression="""\
sum(agent_requests_queued{%}) > 0
""",
        summary="has more requests than its pods take at once",
        description="{{ $value }} requests wait for a place; each gives up after 10 seconds.",
    ),
    Alert(
        name="AgentServiceTasksLeft",
        severity="critical",
        lasting="10m",
        # Every pod counts all tasks of the database.
        expression="""\
max(agent_tasks{%,status="pending"}) > 0
unless max(agent_tasks{%,status="running"}) > 0
""",
        summary="has tasks that nobody does",
        description="{{ $value }} tasks wait, and none is being done.",
    ),
)


def build_prometheus_rule(service: AgentService, context: BuildContext) -> Object | None:
    """The PrometheusRule NAME; None where the spec wants none, or the API server lacks the kind.

    Namespace and name stand in every matcher: a Prometheus that reads all namespaces keeps them apart.

    Args:
        service: The owner.
        context: Install-wide labels, and the kinds that there are.
    """
    wanted = service.spec.observability.prometheus_rule
    if wanted.mode == "Never" or KIND not in context.served_kinds:
        return None
    labels = {**context.defaults.monitor_labels, **wanted.labels}
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": KIND,
        "metadata": child_metadata(service, service.metadata.name, labels=labels),
        "spec": {"groups": [{"name": "agents", "rules": [_rule(alert, service) for alert in ALERTS]}]},
    }


def _rule(alert: Alert, service: AgentService) -> Object:
    namespace, name = service.metadata.namespace, service.metadata.name
    return {
        "alert": alert.name,
        "expr": alert.expression.replace("%", f'namespace="{namespace}",{SERIES_LABEL}="{name}"'),
        "for": alert.lasting,
        "labels": {"severity": alert.severity, "namespace": namespace, SERIES_LABEL: name},
        "annotations": {
            "summary": f"AgentService {namespace}/{name} {alert.summary}.",
            "description": alert.description,
            "runbook_url": f"{RUNBOOK}#{alert.name.lower()}",
        },
    }
