"""What a status says where the Prometheus operator's kinds are asked for and missing."""

from __future__ import annotations

import pytest
from agentservice_operator.status.compute import compute

from tests.unit.status.observations import condition, deployment, situation, spec, states


@pytest.mark.parametrize("field", ["podMonitor", "prometheusRule"])
def test_a_kind_that_is_asked_for_and_missing_is_told_beside_ready(field: str) -> None:
    asked = spec(observability={field: {"mode": "Always"}})

    verdict = compute(situation(deployment(), spec=asked, served_kinds=frozenset()))

    told = condition(verdict.status, "MonitoringAvailable")
    kind = field[0].upper() + field[1:]
    assert (told["status"], told["reason"]) == ("False", "KindNotAvailable")
    assert f"no {kind}," in told["message"]
    assert states(verdict.status)["Ready"] == "True"
    assert "Reconciling" not in states(verdict.status)


@pytest.mark.parametrize("mode", ["Auto", "Never"])
def test_a_kind_that_nobody_asks_for_is_not_missed(mode: str) -> None:
    relaxed = spec(observability={"podMonitor": {"mode": mode}, "prometheusRule": {"mode": mode}})

    verdict = compute(situation(deployment(), spec=relaxed, served_kinds=frozenset()))

    assert "MonitoringAvailable" not in states(verdict.status)
