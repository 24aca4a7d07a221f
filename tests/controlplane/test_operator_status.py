"""The status says truly what is wrong, in words to act on, soon after it shows, and until it is mended."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dev.cluster import Cluster
from dev.kwok_stages import PREFIX
from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, Object, condition, conditions, is_ready, spec_of
from tests.controlplane.operator_process import OperatorProcess, passes, said

SHOWN_WITHIN = 15.0
"""Seconds from the moment when a pod shows its trouble."""
CREDENTIALS = {"secretKeyRef": {"name": "provider", "key": "api-key"}}
ANTHROPIC = [
    {"name": "main", "provider": "Anthropic", "anthropic": {"model": "claude-fake", "credentials": CREDENTIALS}}
]


def message(service: Object) -> str:
    """What the Ready condition tells a person."""
    return str((condition(service, "Ready") or {}).get("message"))


def pods_that(**asks: str) -> Object:
    """A part of the spec whose pods do what kwok is asked for."""
    return {"podAnnotations": {f"{PREFIX}/{key.replace('_', '-')}": value for key, value in asks.items()}}


def test_a_missing_secret_is_named_until_it_is_there(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply(models=ANTHROPIC)

    missing = services.wait_not_ready("ReferenceNotFound")
    assert "Secret provider does not exist" in message(missing)
    assert conditions(missing)["ReferencesResolved"] == ("False", "ReferenceNotFound")
    assert "Reconciling" in conditions(missing)
    assert "Stalled" not in conditions(missing)
    assert services.replica_sets() == []

    services.make_secret("provider", other="fake")
    services.wait(lambda s: "has no key api-key" in message(s))
    services.make_secret("provider", **{"api-key": "fake"})

    ready = services.wait_ready()
    assert conditions(ready)["ReferencesResolved"] == ("True", "Resolved")
    assert "Reconciling" not in conditions(ready)
    assert operator.child.exit_code is None


def test_a_missing_config_map_is_named_until_it_is_there(operator: OperatorProcess, services: AgentServices) -> None:
    prompt = {"configMapKeyRef": {"name": "prompts", "key": "main"}}
    services.apply(agents=[{"name": "assistant", "systemPromptFrom": prompt}])

    assert "ConfigMap prompts does not exist" in message(services.wait_not_ready("ReferenceNotFound"))
    services.make_config_map("prompts", other="x")
    services.wait(lambda s: "ConfigMap prompts has no key main" in message(s))
    services.make_config_map("prompts", main="Help.")

    services.wait_ready()
    assert operator.child.exit_code is None


def test_what_runs_is_left_alone_while_a_reference_is_unresolved(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()
    services.wait_ready()
    operator.settle()
    deployment, pods = services.child("Deployment"), services.pods()

    services.apply(models=ANTHROPIC, replicas=3)
    services.wait_not_ready("ReferenceNotFound")
    operator.settle()
    assert spec_of(services.child("Deployment")) == spec_of(deployment)
    assert [pod["metadata"]["uid"] for pod in services.pods()] == [pod["metadata"]["uid"] for pod in pods]

    services.make_secret("provider", **{"api-key": "fake"})
    services.wait_ready()
    assert len(services.replica_sets()) == 2


@pytest.mark.long
def test_a_lost_secret_of_running_pods_is_noticed(operator: OperatorProcess, services: AgentServices) -> None:
    services.make_secret("provider", **{"api-key": "fake"})
    services.apply(models=ANTHROPIC)
    services.wait_ready()
    revision = services.child("Deployment")["metadata"]["generation"]

    services.cluster.api.delete(services.path("Secret", "provider"))

    services.wait_not_ready("ReferenceNotFound", deadline=150)
    assert services.child("Deployment")["metadata"]["generation"] == revision
    assert operator.child.exit_code is None


def annotate_pods(services: AgentServices, annotations: dict[str, str | None]) -> None:
    for pod in services.pods():
        services.cluster.api.patch(
            services.path("Pod", pod["metadata"]["name"]), {"metadata": {"annotations": annotations}}
        )


def pods_show(services: AgentServices, sign: str) -> None:
    """Wait until the pods show their trouble: what follows is the operator's time."""
    wait_until(
        lambda: sign in str([pod["status"] for pod in services.pods()]), deadline=DEADLINE, describe=services.describe
    )


@dataclass(frozen=True)
class Trouble:
    """What a pod does, how it shows it, and what the status must say about it."""

    asks: dict[str, str]
    sign: str
    reason: str
    says: str


TROUBLES = {
    "image": Trouble({"pod": "ImagePullBackOff"}, "ImagePullBackOff", "ImagePullFailed", "spec.runtime.image"),
    "crash": Trouble(
        {"pod": "CrashLoopBackOff", "exit_code": "137", "last_reason": "OOMKilled"}, "OOMKilled", "CrashLooping", "137"
    ),
    "configuration": Trouble(
        {"pod": "CreateContainerConfigError", "message": 'secret "x" not found'},
        "CreateContainerConfigError",
        "ReferenceNotFound",
        'secret "x" not found',
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_the_trouble_of_a_pod_is_named_until_it_is_mended(
    operator: OperatorProcess, services: AgentServices, trouble: Trouble
) -> None:
    services.apply(runtime=pods_that(**trouble.asks))
    pods_show(services, trouble.sign)

    troubled = services.wait_not_ready(trouble.reason, deadline=SHOWN_WITHIN)
    assert trouble.says in message(troubled)
    assert conditions(troubled)["Reconciling"] == ("True", trouble.reason)
    annotate_pods(services, {f"{PREFIX}/pod": None})  # as when the registry is back: nobody edits the AgentService

    assert set(conditions(services.wait_ready())) == {"Ready"}
    assert operator.child.exit_code is None


def test_a_pod_that_fits_nowhere_is_named_until_it_does(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply(runtime={"resources": {"requests": {"cpu": "1000000"}}})
    pods_show(services, "Unschedulable")

    assert "Insufficient cpu" in message(services.wait_not_ready("Unschedulable", deadline=SHOWN_WITHIN))
    services.apply(runtime={"resources": {"requests": {"cpu": "100m"}}})

    services.wait_ready()
    assert operator.child.exit_code is None


@pytest.mark.parametrize("hard", [{"pods": "0"}, {"count/deployments.apps": "0"}, {"services": "0"}], ids=str)
def test_an_exhausted_quota_is_named_until_there_is_room(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices, hard: dict[str, str]
) -> None:
    metadata = {"name": "small", "namespace": services.namespace}
    quota = cluster.api.create(
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}}
    )
    path = cluster.api.path_of(quota)
    wait_until(lambda: cluster.api.get(path)["status"].get("hard"), deadline=DEADLINE, describe=path)
    services.apply()

    full = services.wait_not_ready("QuotaExceeded")
    assert "exceeded quota: small" in message(full)
    assert "Reconciling" in conditions(full)
    cluster.api.delete(path)

    services.wait(is_ready, deadline=60)
    assert operator.child.exit_code is None


def test_what_the_api_server_refuses_is_stalled_until_the_spec_is_mended(
    operator: OperatorProcess, services: AgentServices
) -> None:
    affinity: Object = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}
    services.apply(runtime={"affinity": affinity})

    refused = services.wait_not_ready("ChildRejected")
    assert conditions(refused)["Stalled"] == ("True", "ChildRejected")
    assert "nodeSelectorTerms" in message(refused)
    operator.settle()
    before = operator.audit.mark()
    passes(10)
    assert said(operator.writes(since=before)) == []
    services.apply()

    services.wait_ready()


def test_trouble_that_lasts_becomes_a_stall(operator: OperatorProcess, services: AgentServices) -> None:
    broken = pods_that(pod="ImagePullBackOff")

    services.apply(runtime={**broken, "rollout": {"progressDeadlineSeconds": 5}})

    assert "Reconciling" in conditions(services.wait_not_ready("ImagePullFailed"))
    stalled = services.wait(lambda service: "Stalled" in conditions(service))
    assert conditions(stalled)["Stalled"] == ("True", "ImagePullFailed")
    assert "Reconciling" not in conditions(stalled)
    services.apply(runtime={"rollout": {"progressDeadlineSeconds": 5}})
    assert set(conditions(services.wait_ready())) == {"Ready"}
    assert operator.child.exit_code is None


def test_a_reference_that_stays_away_becomes_a_stall(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply(models=ANTHROPIC, runtime={"rollout": {"progressDeadlineSeconds": 5}})

    services.wait(lambda service: conditions(service).get("Stalled") == ("True", "ReferenceNotFound"))
    services.make_secret("provider", **{"api-key": "fake"})

    assert "Stalled" not in conditions(services.wait_ready())
    assert operator.child.exit_code is None


def test_a_rollout_that_fails_leaves_the_old_pods_and_says_so(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply(replicas=2)
    ready = services.wait_ready()
    old = {pod["metadata"]["uid"] for pod in services.pods()}

    services.apply(replicas=2, runtime=pods_that(pod="ImagePullBackOff"))

    failed = services.wait_not_ready("ImagePullFailed")
    assert failed["status"]["currentRevision"] == ready["status"]["currentRevision"]
    assert failed["status"]["updateRevision"] != ready["status"]["currentRevision"]
    assert old <= {pod["metadata"]["uid"] for pod in services.pods()}
    services.apply(replicas=2)
    assert services.wait_ready()["status"]["currentRevision"] == ready["status"]["currentRevision"]
    assert operator.child.exit_code is None


def test_api_4_ready_ends_soon_after_the_last_ready_pod(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply()
    services.wait_ready()

    annotate_pods(services, {f"{PREFIX}/pod": "NotReady"})

    services.wait_not_ready("PodsNotReady", deadline=10)
    annotate_pods(services, {f"{PREFIX}/pod": None})
    services.wait_ready()
    assert operator.child.exit_code is None


def test_scaling_up_is_no_outage(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply(replicas=1, runtime=pods_that(ready_after="2s"))
    since = condition(services.wait_ready(), "Ready")

    services.apply(replicas=5, runtime=pods_that(ready_after="2s"))
    services.wait(lambda service: service["status"]["readyReplicas"] == 5)

    until = condition(services.wait_ready(), "Ready")
    assert since is not None
    assert until is not None
    assert since["lastTransitionTime"] == until["lastTransitionTime"]
    assert operator.child.exit_code is None


PAUSES: dict[str, tuple[Object, Object]] = {
    "PausedBySpec": ({"spec": {"paused": True}}, {"spec": {"paused": False}}),
    "PausedByAnnotation": (
        {"metadata": {"annotations": {"agentservice.dev/paused": "true"}}},
        {"metadata": {"annotations": {"agentservice.dev/paused": None}}},
    ),
}
"""By reason: the patch that pauses, and the one that resumes."""


@pytest.mark.parametrize("reason", PAUSES)
def test_a_paused_agent_service_keeps_its_children_as_they_are(
    operator: OperatorProcess, services: AgentServices, reason: str
) -> None:
    pause, resume = PAUSES[reason]
    services.apply()
    services.wait_ready()
    services.patch(pause)
    paused = services.wait(lambda service: conditions(service).get("Paused") == ("True", reason))
    assert conditions(paused)["Ready"] == ("True", "Available")
    operator.settle()
    applied = services.get()["status"]["observedGeneration"]
    before = operator.audit.mark()

    services.patch({"spec": {"agents": [{"name": "assistant", "systemPrompt": "Another."}]}})
    services.cluster.api.delete(services.path("Service"))
    operator.settle()
    assert [write for write in said(operator.writes(since=before)) if "agentservices/status" not in write] == []
    assert services.get()["status"]["observedGeneration"] == applied

    services.patch(resume)
    resumed = services.wait_ready()
    assert "Paused" not in conditions(resumed)
    assert len(services.replica_sets()) == 2
    assert services.child("Service")


def test_a_service_paused_from_the_start_gets_no_children(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply(paused=True)

    paused = services.wait(lambda service: condition(service, "Paused"))
    assert conditions(paused)["Ready"] == ("False", "PausedBySpec")
    assert services.children() == []
    services.patch({"spec": {"paused": False}})

    services.wait_ready()
    assert operator.child.exit_code is None
