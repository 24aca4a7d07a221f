"""Ready with workers: both Deployments must be, and trouble of either is told with its name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.status.compute import Status, compute, reason_of
from agentservice_operator.status.observed import DeploymentFacts, PodFacts
from agentservice_operator.status.situation import Paused, Situation

from tests.unit.builders.services import SHARED_STATE
from tests.unit.status.observations import NEW, NOW, OLD, condition, deployment, pod, situation, spec, states

WORKERS = spec(state=SHARED_STATE, tasks={"workers": 2})


def observed(workers: DeploymentFacts | None, *pods: PodFacts, **fields: Any) -> Situation:
    """Servers that are ready, unless told otherwise, and these workers."""
    return situation(**{"facts": deployment(2), "pods": pods, "spec": WORKERS, "workers": workers, **fields})


def worker(name: str = "hello-worker-1", **fields: Any) -> PodFacts:
    return pod(name, component="worker", **fields)


def status_of(case: Situation) -> Status:
    return compute(case).status


def message(case: Situation) -> str:
    return str(condition(status_of(case), "Ready")["message"])


def test_both_are_counted_where_both_serve() -> None:
    case = observed(deployment(2))

    assert states(status_of(case)) == {"Ready": "True"}
    assert message(case) == f"Revision {NEW} serves on 2 of 2 pods. 2 of 2 workers are available."
    assert (status_of(case)["replicas"], status_of(case)["readyReplicas"]) == (2, 2)


@pytest.mark.parametrize(
    ("workers", "reason"),
    [
        (None, Reason.PROGRESSING),
        (deployment(2, generation=2), Reason.PROGRESSING),
        (deployment(2, 0), Reason.PROGRESSING),
        (deployment(2, revision=OLD), Reason.PROGRESSING),
        (deployment(2, 1, updated_replicas=1, replicas=3), Reason.ROLLING_OUT),
        (deployment(2, 0, deadline_exceeded=True), Reason.PROGRESS_DEADLINE_EXCEEDED),
        (deployment(2, 0, replica_failure="exceeded quota: pods"), Reason.QUOTA_EXCEEDED),
    ],
)
def test_it_is_not_ready_before_its_workers_are(workers: DeploymentFacts | None, reason: Reason) -> None:
    case = observed(workers)

    assert reason_of(status_of(case)) == reason
    assert message(case).startswith("Workers: ")


def test_workers_that_crash_are_told_with_their_name() -> None:
    crashed = worker(restarts=3, exit_code=1, waiting_reason="CrashLoopBackOff")
    case = observed(deployment(2, 0), crashed)

    assert reason_of(status_of(case)) == Reason.CRASH_LOOPING
    assert message(case).startswith("Workers: Pod hello-worker-1 keeps ending with exit code 1")


def test_their_trouble_is_told_while_the_servers_are_just_starting() -> None:
    unscheduled = worker(unschedulable="0/3 nodes are available")
    case = observed(deployment(2, 0), unscheduled, pod(), facts=deployment(2, 0))

    assert reason_of(status_of(case)) == Reason.UNSCHEDULABLE


def test_trouble_of_the_servers_comes_first() -> None:
    troubled = [pod(waiting_reason="ErrImagePull"), worker(unschedulable="0/3 nodes are available")]
    case = observed(deployment(2, 0), *troubled, facts=deployment(2, 0))

    assert reason_of(status_of(case)) == Reason.IMAGE_PULL_FAILED


def test_pods_of_one_say_nothing_about_the_other() -> None:
    ready, down = deployment(2), pod("hello-1", waiting_reason="ErrImagePull")
    serving = status_of(observed(ready))

    case = observed(deployment(2, 0), down, pod("hello-2", ready=True), previous=serving)

    assert reason_of(status_of(case)) == Reason.PODS_NOT_READY
    assert message(case) == "Workers: 0 of 2 pods are available, at least 1 are needed."


def test_trouble_of_workers_that_lasts_is_a_stall() -> None:
    crashed = worker(restarts=3, exit_code=1, waiting_reason="CrashLoopBackOff")
    first = compute(observed(deployment(2, 0), crashed))
    assert first.look_again_after == 300

    later = observed(deployment(2, 0), crashed, previous=first.status, now=NOW + timedelta(seconds=300))

    assert states(status_of(later))["Stalled"] == "True"


def test_workers_that_are_late_are_a_stall_as_soon_as_their_own_deadline_is_over() -> None:
    """The Deployment may speak of the rollout before."""
    applied = (NOW - timedelta(seconds=100)).isoformat()
    case = observed(deployment(2, 0, deadline_exceeded=True, applied_at=applied))
    assert compute(case).look_again_after == 200

    over = replace(case, now=NOW + timedelta(seconds=200))

    assert states(status_of(over))["Stalled"] == "True"


def test_more_workers_of_what_serves_are_no_reason_to_wait() -> None:
    serving = status_of(observed(deployment(2)))

    written = observed(deployment(4, 2, generation=2, replicas=2, updated_replicas=2), previous=serving)
    starting = observed(deployment(4, 2), *(worker(f"hello-worker-{number}") for number in (3, 4)), previous=serving)

    assert states(status_of(written)) == {"Ready": "True"}
    assert states(status_of(starting)) == {"Ready": "True"}


def test_workers_go_on_where_the_servers_are_scaled_to_zero() -> None:
    case = observed(deployment(2), facts=deployment(0))

    assert reason_of(status_of(case)) == Reason.SCALED_TO_ZERO
    assert "2 of 2 workers are available" in message(case)
    assert reason_of(status_of(observed(deployment(2, 0), facts=deployment(0)))) == Reason.PROGRESSING


def test_a_pause_before_there_were_workers_leaves_the_servers_ready() -> None:
    assert states(status_of(observed(None, paused=Paused(Reason.PAUSED_BY_SPEC, 1))))["Ready"] == "True"


def test_workers_that_are_no_longer_wanted_are_not_judged() -> None:
    case = observed(deployment(2, 0), spec=spec(state=SHARED_STATE))

    assert states(status_of(case)) == {"Ready": "True"}


def test_the_authors_part_is_on_record_only_when_both_are_at_the_revision() -> None:
    half = status_of(observed(deployment(2, revision=OLD)))
    whole = status_of(observed(deployment(2)))

    assert "appliedGeneration" not in half
    assert whole["appliedGeneration"] == 1
