"""Live objects cut down to the facts that a status is made of."""

from __future__ import annotations

from typing import Any

import pytest
from agentservice_operator.status.observed import autoscaler_facts, deployment_facts, pod_facts

from agent_runtime.ending import Ending

MANAGED = [
    {"manager": "agentservice-operator", "time": "2026-11-21T12:00:00Z"},
    {"manager": "kube-controller-manager", "time": "2026-11-21T12:30:00Z"},
]
STARTED = "2026-11-21T12:00:05Z"


def pod(container: dict[str, Any] | None = None, **conditions: dict[str, Any]) -> dict[str, Any]:
    statuses = {} if container is None else {"containerStatuses": [container]}
    return {
        "metadata": {"name": "hello-1", "annotations": {"agentservice.dev/revision": "abc"}},
        "spec": {"containers": [{"image": "runtime:1"}]},
        "status": {**statuses, "conditions": [{"type": name, **value} for name, value in conditions.items()]},
    }


def running(**fields: Any) -> dict[str, Any]:
    return {"state": {"running": {"startedAt": STARTED}}, "ready": False, "restartCount": 0, **fields}


NOT_READY_SINCE_IT_WAS_MADE = {"status": "False", "lastTransitionTime": "2026-11-21T12:00:00Z"}
NOT_READY_AFTER_ALL = {"status": "False", "lastTransitionTime": "2026-11-21T12:07:00Z"}


def test_a_pod_of_which_only_the_name_is_known_is_starting() -> None:
    facts = pod_facts({"metadata": {"name": "hello-1"}, "spec": {"containers": [{"image": "runtime:1"}]}})

    assert facts.starting
    assert not facts.ready
    assert facts.revision == ""


def test_a_pod_that_runs_and_never_was_ready_is_starting() -> None:
    facts = pod_facts(pod(running(), Ready=NOT_READY_SINCE_IT_WAS_MADE))

    assert facts.starting
    assert not facts.lost_readiness


def test_a_pod_that_was_ready_and_no_longer_is_does_not_start() -> None:
    facts = pod_facts(pod(running(), Ready=NOT_READY_AFTER_ALL))

    assert facts.lost_readiness
    assert not facts.starting


def test_a_ready_pod_has_lost_nothing() -> None:
    facts = pod_facts(pod(running(ready=True), Ready={"status": "True", "lastTransitionTime": "2026-11-21T12:07:00Z"}))

    assert facts.ready
    assert not facts.lost_readiness


@pytest.mark.parametrize(
    ("container", "reason", "starting"),
    [
        ({"state": {"waiting": {"reason": "ContainerCreating"}}}, "ContainerCreating", True),
        ({"state": {"waiting": {"reason": "PodInitializing"}}}, "PodInitializing", True),
        ({"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}, "ImagePullBackOff", False),
    ],
)
def test_why_a_container_waits(container: dict[str, Any], reason: str, starting: bool) -> None:  # noqa: FBT001 - the value under test
    facts = pod_facts(pod(container))

    assert facts.waiting_reason == reason
    assert facts.starting is starting


@pytest.mark.parametrize(
    "container",
    [
        {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "restartCount": 2},
        {
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
            "restartCount": 2,
        },
    ],
    ids=["just ended", "waits for its restart"],
)
def test_how_a_container_ended(container: dict[str, Any]) -> None:
    facts = pod_facts(pod(container))

    assert (facts.exit_code, facts.exit_reason, facts.restarts) == (137, "OOMKilled", 2)
    assert not facts.starting


def test_of_several_containers_the_one_that_is_not_ready_is_told_of() -> None:
    item = pod(running(ready=True))
    item["status"]["containerStatuses"].append({"ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}})

    assert pod_facts(item).waiting_reason == "CrashLoopBackOff"


def test_the_schedulers_sentence_is_kept() -> None:
    refused = {"status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient cpu."}

    assert pod_facts(pod(PodScheduled=refused)).unschedulable == refused["message"]
    assert pod_facts(pod(PodScheduled={"status": "True"})).unschedulable is None


def test_a_deployment_that_nobody_has_looked_at_yet() -> None:
    facts = deployment_facts({"metadata": {"generation": 1}, "spec": {}})

    assert facts.observed_generation < facts.generation
    assert facts.wanted_replicas == 1
    assert facts.available_replicas == 0


def test_a_deployment_and_what_its_conditions_say() -> None:
    facts = deployment_facts(
        {
            "metadata": {"generation": 3, "managedFields": MANAGED},
            "spec": {"replicas": 5, "template": {"metadata": {"annotations": {"agentservice.dev/revision": "abc"}}}},
            "status": {
                "observedGeneration": 3,
                "replicas": 4,
                "updatedReplicas": 3,
                "readyReplicas": 2,
                "availableReplicas": 1,
                "conditions": [
                    {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
                    {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"},
                ],
            },
        }
    )

    counts = (facts.wanted_replicas, facts.replicas, facts.updated_replicas, facts.ready_replicas)
    assert (*counts, facts.available_replicas) == (5, 4, 3, 2, 1)
    assert facts.revision == "abc"
    assert facts.deadline_exceeded
    assert facts.applied_at == "2026-11-21T12:00:00Z"
    assert facts.replica_failure == "exceeded quota"


def test_a_failure_that_passed_is_none() -> None:
    passed = {"type": "ReplicaFailure", "status": "False", "message": "exceeded quota"}

    assert deployment_facts({"metadata": {}, "status": {"conditions": [passed]}}).replica_failure is None


@pytest.mark.parametrize(("status", "active"), [("True", True), ("False", False), ("Unknown", None)])
def test_an_autoscaler(status: str, active: bool | None) -> None:  # noqa: FBT001 - the value under test
    condition = {"type": "ScalingActive", "status": status, "reason": "ValidMetricFound", "message": "ok"}

    assert autoscaler_facts({"status": {"conditions": [condition]}}).scaling_active is active
    assert autoscaler_facts({}).scaling_active is None


@pytest.mark.parametrize(
    ("message", "ending"),
    [
        ("agentservice: CredentialsUnusable", Ending.CREDENTIALS_UNUSABLE),
        ("agentservice: CredentialsUnusable\n", Ending.CREDENTIALS_UNUSABLE),
        ("agentservice: q7Zt0bXw9LrK2mVc8sYd4HfJ6nPg1TeA", None),
        ("key=q7Zt0bXw9LrK2mVc8sYd4HfJ6nPg1TeA\nagentservice: CredentialsUnusable", None),
        ("", None),
    ],
)
def test_sec_6_of_what_a_container_leaves_behind_only_known_words_are_read(message: str, ending: Ending | None) -> None:
    ended = {"terminated": {"exitCode": 2, "reason": "Error", "message": message}}

    assert pod_facts(pod(running(lastState=ended))).ending == ending
    assert "q7Zt" not in repr(pod_facts(pod(running(lastState=ended))))
