"""What keeps an agent from serving is named soon after its pod shows it, and forgotten once it is mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from agentservice_operator.engine.pod_events import START_SECONDS

from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices, Object, condition, conditions
from tests.e2e.agents import SMALL, wait_ready
from tests.e2e.servers import DATABASE

SHOWN_DEADLINE = 90.0
"""Seconds until the kubelet or the scheduler says what is wrong with a pod."""
SAID_DEADLINE = 15.0
"""Seconds from then until the AgentService says it."""
CREDENTIALS = {"secretKeyRef": {"name": "provider", "key": "api-key"}}
ANTHROPIC = [
    {"name": "main", "provider": "Anthropic", "anthropic": {"model": "claude-fake", "credentials": CREDENTIALS}}
]


def nothing(_services: AgentServices) -> None:
    """Nothing to do outside the AgentService."""


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong.

    Args:
        reason: what Ready says while it lasts.
        shows: whether a pod shows it; absent where it shows before there is a pod.
        runtime: fields of spec.runtime that cause it, and are taken back to mend it.
        taken_back: other fields of the spec that are.
        spec: fields that cause it and stay.
        cause: what causes it outside the AgentService.
        mend: what a person does about it outside the AgentService.
        says: a part of the sentence.
    """

    reason: str
    shows: Callable[[Object], object] | None = None
    runtime: dict[str, Any] = field(default_factory=dict)
    taken_back: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)
    cause: Callable[[AgentServices], object] = nothing
    mend: Callable[[AgentServices], object] = nothing
    says: str = ""


def waiting(pod: Object) -> str:
    """Why the container of a pod waits."""
    statuses = pod["status"].get("containerStatuses") or [{}]
    reason: str = statuses[0].get("state", {}).get("waiting", {}).get("reason", "")
    return reason


def restarts(pod: Object) -> int:
    """How often the container of a pod was started again."""
    return sum(status["restartCount"] for status in pod["status"].get("containerStatuses") or ())


def seconds_running(pod: Object) -> float:
    """How long ago the container of a pod was started."""
    statuses = pod["status"].get("containerStatuses") or [{}]
    started = statuses[0].get("state", {}).get("running", {}).get("startedAt")
    return (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds() if started else 0.0


def unschedulable(pod: Object) -> bool:
    """Whether the scheduler says that no node will do."""
    found = condition(pod, "PodScheduled")
    return found is not None and found.get("reason") == "Unschedulable"


def set_quota(services: AgentServices, pods: int) -> None:
    """Allow that many pods in the namespace."""
    metadata = {"name": "pods", "namespace": services.namespace}
    spec = {"hard": {"pods": str(pods)}}
    body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}
    path = services.cluster.api.path_of(services.cluster.api.apply(body))

    def enforced() -> bool:
        return bool(services.cluster.api.get(path).get("status", {}).get("hard") == spec["hard"])

    wait_until(enforced, deadline=30, describe="the quota is not enforced")


TROUBLES = {
    "a missing Secret": Trouble(
        "ReferenceNotFound",
        spec={"models": ANTHROPIC},
        mend=lambda services: services.make_secret("provider", **{"api-key": "not-a-real-key"}),
    ),
    "an image that cannot be pulled": Trouble(
        "ImagePullFailed",
        shows=lambda pod: waiting(pod) in ("ErrImagePull", "ImagePullBackOff"),
        runtime={"image": "localhost/agentservice/absent:1"},
    ),
    "a pod that crashes": Trouble(
        "CrashLooping",
        shows=restarts,
        runtime={"env": [{"name": "LOG_FORMAT", "value": "no format at all"}]},
        says="it refuses an environment variable",
    ),
    "a probe that finds no database": Trouble(
        "ProbeFailed",
        shows=lambda pod: seconds_running(pod) > START_SECONDS,
        taken_back={"state": DATABASE},
        cause=lambda services: services.make_secret("database", url="postgresql://agents:none@nowhere.invalid/agents"),
        says="its startup probe fails (status 503)",
    ),
    "a pod that fits nowhere": Trouble(
        "Unschedulable", shows=unschedulable, runtime={"nodeSelector": {"example.com/no-such": "node"}}
    ),
    "a quota without room": Trouble(
        "QuotaExceeded", cause=lambda services: set_quota(services, 0), mend=lambda services: set_quota(services, 5)
    ),
}


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=TROUBLES)
def test_a_trouble_is_named_and_its_end_is_noticed(kind: Cluster, namespace: str, trouble: Trouble) -> None:
    services = AgentServices(kind, namespace)
    trouble.cause(services)

    services.apply(runtime={**SMALL, **trouble.runtime}, **trouble.taken_back, **trouble.spec)
    if trouble.shows is not None:
        wait_until(
            lambda: any(trouble.shows and trouble.shows(pod) for pod in services.pods()),
            deadline=SHOWN_DEADLINE,
            describe=services.describe,
            interval=0.2,
        )
    failed = services.wait_not_ready(trouble.reason, deadline=SAID_DEADLINE)

    ready = condition(failed, "Ready")
    assert ready is not None
    assert trouble.says in ready["message"]
    assert ready["message"].endswith((".", "--previous")) or " describe pod " in ready["message"], ready["message"]
    assert conditions(failed)["Reconciling"] == ("True", trouble.reason)
    trouble.mend(services)
    services.apply(runtime=SMALL, **trouble.spec)
    wait_ready(kind, namespace, "hello")
    assert set(conditions(services.get())) <= {"Ready", "ReferencesResolved"}
