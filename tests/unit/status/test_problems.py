"""What pods suffer from, in words that help."""

from __future__ import annotations

import pytest
from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.status.observed import DeploymentFacts, PodFacts
from agentservice_operator.status.pod_events import Hint
from agentservice_operator.status.problems import Problem, pod_problem

from agent_runtime.ending import Ending
from tests.unit.status.observations import IMAGE, OLD, deployment, pod

QUOTA = 'pods "hello-1" is forbidden: exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1'
POLICY = 'pods "hello-1" is forbidden: violates PodSecurity "restricted:latest": seccompProfile'
UNSCHEDULABLE = "0/3 nodes are available: 3 Insufficient cpu."

CASES = [
    (pod(waiting_reason="ImagePullBackOff"), Reason.IMAGE_PULL_FAILED, [IMAGE, "ImagePullBackOff", "imagePullSecrets"]),
    (pod(waiting_reason="ErrImagePull"), Reason.IMAGE_PULL_FAILED, ["spec.runtime.image"]),
    (pod(waiting_reason="InvalidImageName"), Reason.IMAGE_PULL_FAILED, ["spec.runtime.image"]),
    (pod(unschedulable=UNSCHEDULABLE), Reason.UNSCHEDULABLE, ["3 Insufficient cpu", "spec.runtime.resources"]),
    (
        pod(waiting_reason="CreateContainerConfigError", waiting_message='secret "anthropic" not found'),
        Reason.REFERENCE_NOT_FOUND,
        ['secret "anthropic" not found', "create"],
    ),
    (
        pod(waiting_reason="CreateContainerConfigError", waiting_message="couldn't find key k in Secret team-a/s"),
        Reason.REFERENCE_NOT_FOUND,
        ["couldn't find key k", "create"],
    ),
    (
        pod(
            waiting_reason="CreateContainerConfigError",
            waiting_message="container has runAsNonRoot and image will run as root",
        ),
        Reason.CRASH_LOOPING,
        ["image will run as root", "spec.runtime"],
    ),
    (
        pod(waiting_reason="CrashLoopBackOff", exit_code=1, restarts=4),
        Reason.CRASH_LOOPING,
        ["exit code 1", "4 restarts", "logs hello-1 --previous"],
    ),
    (pod(exit_code=1, exit_reason="Error", restarts=1), Reason.CRASH_LOOPING, ["exit code 1"]),
    (
        pod(waiting_reason="CrashLoopBackOff", exit_code=137, exit_reason="OOMKilled", restarts=2),
        Reason.CRASH_LOOPING,
        ["137", "OOMKilled", "spec.runtime.resources.limits.memory"],
    ),
    (
        pod(waiting_reason="CrashLoopBackOff", exit_code=2, restarts=2),
        Reason.CRASH_LOOPING,
        ["configuration was refused"],
    ),
    (
        pod(waiting_reason="CrashLoopBackOff", exit_code=2, restarts=2, ending=Ending.CONFIGURATION_TOO_NEW),
        Reason.CRASH_LOOPING,
        ["exit code 2", "use a newer one in spec.runtime.image"],
    ),
    (
        pod(hint=Hint(Reason.MOUNT_FAILED, "cannot mount its volume data.")),
        Reason.MOUNT_FAILED,
        ["Pod hello-1 cannot mount its volume data.", "describe pod hello-1"],
    ),
    (
        pod(waiting_reason="CreateContainerError"),
        Reason.CRASH_LOOPING,
        ["cannot start its container (CreateContainerError)"],
    ),
]


def found(facts: PodFacts | list[PodFacts], owner: DeploymentFacts | None = None) -> Problem:
    problem = pod_problem("team-a", owner or deployment(1, 0), facts if isinstance(facts, list) else [facts])
    assert problem is not None
    return problem


@pytest.mark.parametrize(("facts", "reason", "words"), CASES)
def test_a_pods_trouble_is_named_with_what_to_do(facts: PodFacts, reason: Reason, words: list[str]) -> None:
    problem = found(facts)

    assert problem.reason is reason
    assert "hello-1" in problem.message
    for word in words:
        assert word in problem.message
    assert not problem.terminal, "it may mend itself: a Secret may still be on its way"


@pytest.mark.parametrize(
    "facts",
    [
        pod(),
        pod(waiting_reason="ContainerCreating"),
        pod(ready=True, restarts=3, exit_code=1),
        pod(deleting=True, waiting_reason="ImagePullBackOff"),
        pod(exit_code=0, restarts=0),
    ],
    ids=["new", "being made", "ready again", "on its way out", "ended well"],
)
def test_what_is_no_trouble_is_not_called_so(facts: PodFacts) -> None:
    assert pod_problem("team-a", deployment(1, 0), [facts]) is None


def test_an_exhausted_quota_is_named() -> None:
    problem = found([], deployment(1, 0, replica_failure=QUOTA))

    assert problem.reason is Reason.QUOTA_EXCEEDED
    assert "exceeded quota: small" in problem.message
    assert "Raise the quota" in problem.message


def test_pods_that_the_api_server_refuses_are_named() -> None:
    problem = found([], deployment(1, 0, replica_failure=POLICY))

    assert problem.reason is Reason.CHILD_REJECTED
    assert 'violates PodSecurity "restricted:latest"' in problem.message


def test_a_service_account_that_is_gone_is_named() -> None:
    failure = (
        'pods "hello-5f9c-" is forbidden: error looking up service account team-a/cloud:'
        ' serviceaccount "cloud" not found'
    )

    problem = found([], deployment(1, 0, replica_failure=failure))

    assert problem.reason is Reason.REFERENCE_NOT_FOUND
    assert "ServiceAccount cloud does not exist" in problem.message
    assert not problem.terminal


def test_the_pods_of_the_newest_revision_come_first() -> None:
    old = pod("a-old", revision=OLD, waiting_reason="ImagePullBackOff")
    new = pod("b-new", unschedulable=UNSCHEDULABLE)

    assert found([old, new]).reason is Reason.UNSCHEDULABLE


def test_of_several_pods_always_the_same_one_is_named() -> None:
    """Otherwise the message would change with the order of events, and be written each time."""
    pods = [pod(name, waiting_reason="ErrImagePull") for name in ("b", "a", "c")]

    assert found(pods) == found(pods[::-1])
    assert "Pod a " in found(pods).message


def test_what_the_kubelet_says_of_a_crash_is_not_repeated() -> None:
    """It quotes command lines and last log lines, and those may hold anything."""
    said = 'failed to start "asv_not-a-real-key"'
    for reason in ("CrashLoopBackOff", "RunContainerError", "CreateContainerError", "ImagePullBackOff"):
        assert "asv_" not in found(pod(waiting_reason=reason, waiting_message=said, exit_code=1, restarts=1)).message


def test_every_word_that_the_runtime_may_leave_has_a_sentence() -> None:
    for ending in Ending:
        assert len(found(pod(waiting_reason="CrashLoopBackOff", exit_code=2, restarts=1, ending=ending)).message) > 100
