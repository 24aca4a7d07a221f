"""An autoscaler on real CPU metrics owns the number of pods, and nobody fights it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dev.cluster import Cluster
from dev.kind_session import Session
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices, Object, conditions
from tests.e2e.agents import wait_ready
from tests.e2e.history import followed, ready_endpoints
from tests.e2e.traffic import load

SCALED_DEADLINE = 180.0
"""Seconds; metrics come every 15 and the autoscaler looks every 15."""
RUNTIME: dict[str, Any] = {"resources": {"requests": {"cpu": "40m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}}
AUTOSCALING: dict[str, Any] = {
    "minReplicas": 1,
    "maxReplicas": 3,
    "targetCPUUtilizationPercentage": 60,
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
}


@pytest.mark.usefixtures("metrics_server")
def test_load_scales_up_and_its_end_scales_down(
    session: Session, kind: Cluster, namespace: str, tmp_path: Path
) -> None:
    services = AgentServices(kind, namespace)
    services.apply(runtime=RUNTIME, autoscaling=AUTOSCALING)
    wait_ready(kind, namespace, "hello")

    with followed(kind, namespace, "deployments", tmp_path) as history:
        with load(kind, namespace, "hello", image=session.images.runtime, callers=8, pace=8):
            services.wait(lambda service: service["status"]["readyReplicas"] >= 2, deadline=SCALED_DEADLINE)
        up = services.get()
        services.wait(lambda service: service["status"]["replicas"] == 1, deadline=SCALED_DEADLINE)
        states = history.objects("hello")

    counts = changes([state["spec"]["replicas"] for state in states])
    assert conditions(up)["ScalingActive"] == ("True", "ValidMetricFound")
    assert counts[0] == 1
    assert max(counts) >= 2
    assert counts[-1] == 1
    # The API server names nobody for a count that was only ever changed through /scale.
    assert owners(states, "replicas") <= {"kube-controller-manager"}
    assert owners(states, "template") == {"agentservice-operator"}


def test_autoscaling_on_and_off_never_drops_a_pod(kind: Cluster, namespace: str, tmp_path: Path) -> None:
    services = AgentServices(kind, namespace)
    services.apply(runtime=RUNTIME, replicas=3)
    services.wait(lambda service: service["status"].get("readyReplicas") == 3, deadline=SCALED_DEADLINE)
    autoscaler = services.path("HorizontalPodAutoscaler")
    slow = {**AUTOSCALING, "behavior": {"scaleDown": {"stabilizationWindowSeconds": 300}}}

    with (
        followed(kind, namespace, "deployments", tmp_path) as deployments,
        followed(kind, namespace, "endpointslices", tmp_path) as slices,
    ):
        services.apply(runtime=RUNTIME, autoscaling=slow)
        wait_until(lambda: spoken(kind.api.find(autoscaler)), deadline=90, describe=services.describe, interval=0.5)
        services.apply(runtime=RUNTIME)
        wait_until(lambda: kind.api.find(autoscaler) is None, deadline=30, describe=services.describe)
        services.apply(runtime=RUNTIME, replicas=4)
        services.wait(lambda service: service["status"].get("readyReplicas") == 4, deadline=SCALED_DEADLINE)
        wait_until(lambda: ready_endpoints(slices.objects()[-1]) == 4, deadline=30, describe=services.describe)
        counts = changes([state["spec"]["replicas"] for state in deployments.objects("hello")])
        endpoints = changes([ready_endpoints(state) for state in slices.objects()])

    assert counts == [3, 4]
    assert endpoints == [3, 4]


def changes(values: list[int]) -> list[int]:
    """The values without repetitions in a row."""
    return [value for number, value in enumerate(values) if number == 0 or values[number - 1] != value]


def spoken(autoscaler: Object | None) -> object:
    """Whether the autoscaler's controller has looked at it: what it would do to the count it has then done."""
    return autoscaler and autoscaler.get("status", {}).get("conditions")


def owners(deployments: list[Object], field: str) -> set[str]:
    """Who was ever named as the owner of a field of the spec."""
    entries = [entry for deployment in deployments for entry in deployment["metadata"]["managedFields"]]
    return {entry["manager"] for entry in entries if f"f:{field}" in entry.get("fieldsV1", {}).get("f:spec", {})}
