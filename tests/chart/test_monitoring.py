"""Alerts and dashboards that the chart ships use what the programs export, and say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from agentservice_operator.metrics import Metrics
from prometheus_client import Counter, Gauge, Histogram

from agent_runtime import metrics as runtime_metrics
from tests.chart.conftest import CHART, Object, Render

RUNBOOKS = CHART.parent.parent / "docs" / "runbooks"
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))
BOTH = {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}}}
_STRING = re.compile(r'"[^"]*"')
_METRIC = re.compile(r"\b(?:agent|agentservice_operator|controller_runtime|leader|process|rest|workqueue)_[a-z_]+")


def one(objects: Iterable[Object], kind: str) -> Object:
    """The only object of a kind."""
    (found,) = (item for item in objects if item["kind"] == kind)
    return found


def exported() -> set[str]:
    """The names of all series of the operator and of the runtime."""
    runtime = (each for each in vars(runtime_metrics).values() if isinstance(each, Counter | Gauge | Histogram))
    families = [family for each in (Metrics().registry, *runtime) for family in each.collect()]
    return {f"{family.name}{suffix}" for family in families for suffix in suffixes(family.type)}


def suffixes(kind: str) -> tuple[str, ...]:
    return {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(kind, ("",))


def names(expression: str) -> set[str]:
    """The series that an expression reads; at least one."""
    found = set(_METRIC.findall(_STRING.sub("", expression))) - {"agentservice_dev_service"}
    assert found, expression
    return found


def test_every_alert_uses_series_of_this_operator(render: Render) -> None:
    objects = render(BOTH)
    (group,) = one(objects, "PrometheusRule")["spec"]["groups"]
    monitor = one(objects, "PodMonitor")["metadata"]

    for rule in group["rules"]:
        assert names(rule["expr"]) <= exported(), rule["alert"]
        selectors = re.findall(r"\{(.*?)\}", rule["expr"])
        assert len(selectors) == len(_METRIC.findall(_STRING.sub("", rule["expr"])))
        assert all(each.startswith(f'job="{monitor["namespace"]}/{monitor["name"]}"') for each in selectors)


def test_every_alert_has_a_section_in_the_runbook(render: Render) -> None:
    rule = one(render(BOTH), "PrometheusRule")
    (group,) = rule["spec"]["groups"]
    headings = re.findall(r"^## (.+)$", (RUNBOOKS / "operator.md").read_text(), re.MULTILINE)

    assert [each["alert"] for each in group["rules"]] == headings
    for each in group["rules"]:
        address, _, anchor = each["annotations"]["runbook_url"].partition("#")
        assert Path(address).name == "operator.md"
        assert anchor == each["alert"].lower()
        assert set(each["annotations"]) == {"summary", "description", "runbook_url"}
        assert each["labels"]["severity"] in {"critical", "warning"}
        assert each["for"]
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_every_panel_of_a_dashboard_uses_series_that_are_exported() -> None:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                assert names(target["expr"]) <= exported() | process(), panel["title"]


def test_every_variable_of_a_dashboard_uses_series_that_are_exported() -> None:
    for path in DASHBOARDS:
        _, *variables = json.loads(path.read_text())["templating"]["list"]
        for variable in variables:
            assert names(variable["query"]["query"]) <= exported()


def process() -> set[str]:
    """What the client library reports of the process, on Linux."""
    return {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def test_dashboards_are_rendered_for_the_sidecar_as_they_are(render: Render) -> None:
    (found,) = (
        item for item in render({"dashboards": {"enabled": True}}) if item["metadata"]["name"].endswith("-dashboards")
    )

    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["data"] == {f"agentservice-{path.name}": path.read_text() for path in DASHBOARDS}
    identifiers = [json.loads(text)["uid"] for text in found["data"].values()]
    assert len(set(identifiers)) == len(DASHBOARDS) == 2


def test_neither_is_there_unless_asked_for(render: Render) -> None:
    objects = render()

    assert "PrometheusRule" not in {item["kind"] for item in objects}
    assert not [item for item in objects if item["metadata"]["name"].endswith("-dashboards")]
