"""What of the way from one status to the next is told as an Event."""

from __future__ import annotations

from dataclasses import replace

import pytest
from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.status.compute import Status, compute
from agentservice_operator.status.events import changes
from agentservice_operator.status.problems import Problem
from agentservice_operator.status.situation import Paused, Situation

from tests.unit.status.observations import NEW, OLD, deployment, pod, situation

MISSING = Problem(Reason.REFERENCE_NOT_FOUND, "Secret anthropic does not exist; create it.")
CONFLICT = Problem(Reason.NAME_CONFLICT, "A Service named hello exists; rename it.", terminal=True)
FRESH: Status = {"observedGeneration": -1}
SERVING = situation(deployment(1))
STARTING = situation(deployment(1, 0))
PULLING = situation(deployment(1, 0), [pod(waiting_reason="ImagePullBackOff")])


def told(*cases: Situation, since: Status | None = None) -> list[tuple[str, str]]:
    """Type and reason of each Event on the way through these situations, after what the first one says."""
    status = compute(cases[0]).status if since is None else since
    found = []
    for case in cases[since is None :]:
        following = compute(replace(case, previous=status)).status
        found += [(str(each.type), str(each.reason)) for each in changes(status, following)]
        status = following
    return found


def test_a_first_rollout_has_a_beginning_and_an_end() -> None:
    assert told(situation(None), STARTING, SERVING, since=FRESH) == [
        ("Normal", "RolloutStarted"),
        ("Normal", "RolloutFinished"),
    ]


@pytest.mark.parametrize("case", [SERVING, STARTING, PULLING, situation(None, problems=[CONFLICT])])
def test_what_stays_as_it_is_is_told_once(case: Situation) -> None:
    assert told(case, case, case) == []


def test_counts_are_no_news() -> None:
    assert told(SERVING, situation(deployment(3, 1)), situation(deployment(3, 2)), situation(deployment(3))) == []


def test_a_rollout_that_fails_and_is_mended_tells_why_and_when_it_serves_again() -> None:
    broken = replace(PULLING, revision=OLD, deployment=deployment(1, 0, revision=OLD), generation=2)
    mended = replace(SERVING, generation=3)

    assert told(SERVING, broken, mended) == [
        ("Normal", "RolloutStarted"),
        ("Warning", "ImagePullFailed"),
        ("Normal", "RolloutStarted"),
        ("Normal", "Available"),
    ]


def test_readiness_lost_and_regained_is_told_with_its_reason() -> None:
    lost = situation(deployment(1, 0), [pod(lost_readiness=True)])

    assert told(SERVING, lost, SERVING) == [("Warning", "PodsNotReady"), ("Normal", "Available")]


def test_scaling_to_zero_and_back_is_told() -> None:
    zero = situation(deployment(0))

    assert told(SERVING, zero, SERVING) == [("Normal", "ScaledToZero"), ("Normal", "Available")]


def test_another_missing_reference_is_other_news() -> None:
    other = Problem(Reason.REFERENCE_NOT_FOUND, "Secret other does not exist; create it.")
    first = situation(None, problems=[MISSING], revision=None)

    assert told(first, situation(None, problems=[other], revision=None)) == [("Warning", "ReferenceNotFound")]


def test_what_stalls_at_once_is_told_once() -> None:
    assert told(situation(None, problems=[CONFLICT], revision=None), since=FRESH) == [("Warning", "NameConflict")]


def test_what_stalls_later_is_told_again_as_that() -> None:
    stalled = replace(PULLING, deployment=deployment(1, 0, deadline_exceeded=True))

    assert told(STARTING, PULLING, stalled) == [("Warning", "ImagePullFailed"), ("Warning", "Stalled")]


def test_a_pause_and_its_end_are_told() -> None:
    paused = replace(SERVING, paused=Paused(Reason.PAUSED_BY_SPEC, 1))

    assert told(SERVING, paused, SERVING) == [("Normal", "PausedBySpec"), ("Normal", "Resumed")]


def test_pods_by_other_names_with_the_same_trouble_are_one_series_until_the_next_revision() -> None:
    def warning(name: str, revision: str) -> tuple[str, ...]:
        case = situation(deployment(1, 0), [pod(name, waiting_reason="ImagePullBackOff")], revision=revision)
        (occurrence,) = (each for each in changes(FRESH, compute(case).status) if each.type == "Warning")
        return occurrence.alike

    assert warning("hello-1", NEW) == warning("hello-2", NEW)
    assert warning("hello-1", NEW) != warning("hello-1", OLD)


def test_a_provider_that_refuses_and_answers_again_is_told_and_one_that_always_answered_is_not() -> None:
    def provider(status: str, reason: str) -> Status:
        entry = {"type": "ProviderHealthy", "status": status, "reason": reason, "message": f"{reason}."}
        return {**(base := compute(SERVING).status), "conditions": [*base["conditions"], entry]}

    silent, answers = compute(SERVING).status, provider("True", "ProviderAnswers")
    refused = provider("False", "CredentialsRefused")

    assert changes(silent, answers) == []
    assert [(str(each.type), each.reason) for each in changes(answers, refused)] == [("Warning", "CredentialsRefused")]
    assert [(str(each.type), each.reason) for each in changes(refused, answers)] == [("Normal", "ProviderAnswers")]
    assert changes(refused, refused) == []
