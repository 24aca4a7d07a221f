"""The alerts that we ship are valid, and fire when they should and only then: in the eyes of Prometheus itself."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from agentservice_operator.api.v1alpha1.parse import parse
from agentservice_operator.builders.build import build
from agentservice_operator.builders.context import BuildContext

from dev import toolchain
from tests.chart.conftest import Object, Render

CASES = Path(__file__).parent / "alerts"
SERVICE: Object = {
    "metadata": {"name": "hello", "namespace": "team-a"},
    "spec": {
        "models": [{"name": "main", "provider": "Echo"}],
        "agents": [{"name": "assistant", "systemPrompt": "Help."}],
    },
}

Promtool = Callable[..., str]


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Runs promtool, which must be content, and returns what it printed."""
    program = toolchain.ensure("promtool")["promtool"]

    def run(*arguments: str | Path) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(params=["agents", "operator"])
def rules(request: pytest.FixtureRequest, render: Render, tmp_path: Path) -> Path:
    """The alerts as a rule file of Prometheus, beside the cases that are about them."""
    children = build(parse(SERVICE), BuildContext("runtime:1"))
    objects = children if request.param == "agents" else render({"prometheusRule": {"enabled": True}})
    (rule,) = (item for item in objects if item["kind"] == "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    shutil.copy(CASES / f"{request.param}.yaml", tmp_path / "cases.yaml")
    return tmp_path


def test_prometheus_finds_no_fault_in_the_alerts(promtool: Promtool, rules: Path) -> None:
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", rules / "rules.yaml")


def test_alerts_fire_when_they_should_and_only_then(promtool: Promtool, rules: Path) -> None:
    promtool("test", "rules", rules / "cases.yaml")


def test_every_alert_is_seen_firing(rules: Path) -> None:
    names = {
        rule["alert"]
        for group in yaml.safe_load((rules / "rules.yaml").read_text())["groups"]
        for rule in group["rules"]
    }
    cases = yaml.safe_load((rules / "cases.yaml").read_text())["tests"]

    fired = {each["alertname"] for case in cases for each in case["alert_rule_test"] if each["exp_alerts"]}

    assert fired == names
