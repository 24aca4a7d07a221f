"""What the pods report, as conditions that a person can act on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from agentservice_operator.status.compute import Status, compute
from agentservice_operator.status.runtime_report import ModelReport, ModelState, PodReport, RuntimeReport, combine
from agentservice_operator.status.situation import Situation

from tests.unit.status.observations import NEW, NOW, OLD, condition, deployment, situation, spec, states

CREDENTIALS = {"secretKeyRef": {"name": "anthropic", "key": "api-key"}}
MODEL = {
    "name": "main",
    "provider": "Anthropic",
    "anthropic": {"model": "claude-sonnet-5-5", "credentials": CREDENTIALS},
}


def pod_report(*models: ModelReport, revision: str = NEW) -> PodReport:
    return PodReport(revision=revision, models=models)


def reported(revision: str = NEW, **state: Any) -> RuntimeReport:
    model = ModelState(**{"name": "main", "health": "unknown", "code": None, "retires": None, **state})
    return RuntimeReport(revision, (model,))


def serving(report: RuntimeReport | None, **fields: Any) -> Situation:
    return situation(deployment(1), spec=spec(models=[MODEL]), report=report, **fields)


def message(status: Status, kind: str) -> str:
    found = condition(status, kind)
    assert found is not None
    return str(found["message"])


def test_of_several_pods_the_latest_call_counts() -> None:
    idle = ModelReport(name="main", health="unknown")
    failed = ModelReport(name="main", health="failing", code="upstream_timeout", age_seconds=30)
    answered = ModelReport(name="main", health="healthy", age_seconds=2)

    combined = combine([pod_report(answered), pod_report(failed), pod_report(idle)], NEW)

    assert combined == reported(health="healthy")


def test_pods_of_another_revision_are_not_heard() -> None:
    failed = ModelReport(name="main", health="failing", code="upstream_timeout")

    assert combine([pod_report(failed, revision=OLD)], NEW) is None


def test_the_age_of_a_call_makes_no_difference_to_the_report() -> None:
    calls = [ModelReport(name="main", health="healthy", age_seconds=age) for age in (1, 61)]

    assert combine([pod_report(calls[0])], NEW) == combine([pod_report(calls[1])], NEW)


def test_nothing_is_said_of_a_provider_that_was_never_called() -> None:
    assert states(compute(serving(reported())).status) == {"Ready": "True"}


def test_a_provider_that_answers_is_healthy() -> None:
    assert states(compute(serving(reported(health="healthy"))).status) == {"Ready": "True", "ProviderHealthy": "True"}


@pytest.mark.parametrize(
    ("code", "reason", "remedy"),
    [
        ("upstream_unauthorized", "CredentialsRefused", "Secret anthropic, key api-key"),
        ("upstream_model_not_found", "ModelNotFound", "claude-sonnet-5-5"),
        ("upstream_overloaded", "ProviderOverloaded", "higher limit"),
        ("upstream_timeout", "ProviderUnavailable", "status page"),
        ("<script>", "ProviderUnavailable", "status page"),
        (None, "ProviderUnavailable", "status page"),
    ],
)
def test_a_failing_provider_is_told_with_what_to_do_and_the_service_stays_ready(
    code: str | None, reason: str, remedy: str
) -> None:
    status = compute(serving(reported(health="failing", code=code))).status

    assert states(status) == {"Ready": "True", "ProviderHealthy": "False"}
    assert (condition(status, "ProviderHealthy") or {})["reason"] == reason
    assert remedy in message(status, "ProviderHealthy")
    assert "<script>" not in message(status, "ProviderHealthy")


def test_the_day_on_which_a_model_goes_is_told() -> None:
    status = compute(serving(reported(health="healthy", retires=date(2026, 11, 30)))).status

    assert states(status)["ModelRetiring"] == "True"
    assert "2026-11-30" in message(status, "ModelRetiring")


def test_a_model_that_the_spec_does_not_have_is_not_shown() -> None:
    status = compute(serving(reported(name="other", health="failing", retires=date(2026, 11, 30)))).status

    assert states(status) == {"Ready": "True"}


def test_until_the_pods_answer_a_new_operator_the_last_word_holds() -> None:
    before = compute(serving(reported(health="failing", retires=date(2026, 11, 30)))).status

    after = compute(serving(None, previous=before, now=replace_hour(NOW.hour + 1))).status

    assert after == before


def test_the_last_word_does_not_hold_for_another_spec_or_without_pods() -> None:
    before = compute(serving(reported(health="failing"))).status

    edited = compute(serving(None, previous=before, generation=2)).status
    stopped = compute(replace(serving(None, previous=before), deployment=deployment(0))).status

    assert "ProviderHealthy" not in states(edited)
    assert "ProviderHealthy" not in states(stopped)


def test_a_report_of_the_revision_before_says_nothing_of_this_one() -> None:
    assert "ProviderHealthy" not in states(compute(serving(reported(OLD, health="failing"))).status)


def replace_hour(hour: int) -> Any:
    return NOW.replace(hour=hour)
