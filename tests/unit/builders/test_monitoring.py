"""What the Prometheus operator gets to read, and when."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from agentservice_operator.builders.build import build
from agentservice_operator.builders.defaults import AgentDefaults
from agentservice_operator.builders.prometheus_rule import ALERTS, RUNBOOK, Alert
from prometheus_client import Counter, Gauge, Histogram

from agent_runtime import metrics
from tests.unit.builders.services import CONTEXT, agent_service, child

DOCS = Path(__file__).parents[3] / "docs"
KINDS = {"PodMonitor": "podMonitor", "PrometheusRule": "prometheusRule"}
_METRIC = re.compile(r"\b(agent_[a-z_]+)")


@pytest.mark.parametrize(("kind", "field"), KINDS.items())
@pytest.mark.parametrize("mode", ["Auto", "Always"])
def test_a_kind_that_the_api_server_has_is_used(kind: str, field: str, mode: str) -> None:
    service = agent_service(observability={field: {"mode": mode}})

    assert child(kind, service)["metadata"]["name"] == "hello"


@pytest.mark.parametrize(("kind", "field"), KINDS.items())
def test_no_kind_is_used_that_is_not_wanted_or_not_there(kind: str, field: str) -> None:
    never = agent_service(observability={field: {"mode": "Never"}})
    always = agent_service(observability={field: {"mode": "Always"}})
    lacking = replace(CONTEXT, served_kinds=CONTEXT.served_kinds - {kind})

    assert kind not in {item["kind"] for item in build(never, CONTEXT)}
    assert kind not in {item["kind"] for item in build(always, lacking)}


@pytest.mark.parametrize(("kind", "field"), KINDS.items())
def test_labels_of_the_spec_are_added_to_those_of_the_installation_and_win(kind: str, field: str) -> None:
    context = replace(CONTEXT, defaults=AgentDefaults(monitor_labels={"release": "prometheus", "tenant": "a"}))
    service = agent_service(observability={field: {"labels": {"release": "mine"}}})

    labels = child(kind, service, context)["metadata"]["labels"]

    assert (labels["release"], labels["tenant"]) == ("mine", "a")
    assert labels["app.kubernetes.io/managed-by"] == "agentservice-operator"


@pytest.mark.parametrize("kind", KINDS)
def test_inherited_labels_choose_no_prometheus(kind: str) -> None:
    """Whoever may set them need not have the right to create monitors."""
    service = agent_service(inheritedMetadata={"labels": {"release": "platform"}, "annotations": {"a": "b"}})

    metadata = child(kind, service)["metadata"]

    assert "release" not in metadata["labels"]
    assert metadata["annotations"] == {"a": "b"}


def test_the_pod_monitor_names_a_port_of_the_pods() -> None:
    (endpoint,) = child("PodMonitor", agent_service())["spec"]["podMetricsEndpoints"]
    (container,) = child("Deployment", agent_service())["spec"]["template"]["spec"]["containers"]

    assert endpoint["port"] in {port["name"] for port in container["ports"]}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_uses_metrics_that_the_runtime_has(alert: Alert) -> None:
    exported = {
        name
        for metric in vars(metrics).values()
        if isinstance(metric, Counter | Gauge | Histogram)
        for family in metric.collect()
        for name in (family.name, f"{family.name}_total", f"{family.name}_bucket", f"{family.name}_count")
    }

    used = set(_METRIC.findall(re.sub(r'"[^"]*"', "", alert.expression)))

    assert used
    assert used <= exported


def test_every_selector_of_an_alert_is_of_one_agent_service() -> None:
    (group,) = child("PrometheusRule", agent_service("other"))["spec"]["groups"]

    for rule in group["rules"]:
        selectors = re.findall(r"agent_[a-z_]+\{(.*?)\}", rule["expr"])
        assert len(selectors) == len(_METRIC.findall(re.sub(r'"[^"]*"', "", rule["expr"])))
        assert all('namespace="team-a",agentservice_dev_service="other"' in selector for selector in selectors)


def test_every_alert_has_a_section_in_the_runbook() -> None:
    runbook = (DOCS / "runbooks" / Path(RUNBOOK).name).read_text()
    (group,) = child("PrometheusRule", agent_service())["spec"]["groups"]

    headings = re.findall(r"^## (.+)$", runbook, re.MULTILINE)

    assert headings == [rule["alert"] for rule in group["rules"]]
    assert [rule["annotations"]["runbook_url"] for rule in group["rules"]] == [
        f"{RUNBOOK}#{heading.lower()}" for heading in headings
    ]
