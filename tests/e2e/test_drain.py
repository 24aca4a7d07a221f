"""A node can be drained for maintenance: callers notice nothing, and the drain comes to its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dev.cluster import Cluster
from dev.kind_session import Session
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import SMALL, wait_ready
from tests.e2e.history import followed, ready_endpoints
from tests.e2e.traffic import load

pytestmark = pytest.mark.alone

DRAINED_SECONDS = 180


def test_a_drained_node_loses_no_request_and_keeps_an_agent_serving(
    session: Session, kind: Cluster, namespace: str, tmp_path: Path
) -> None:
    nodes = [node["metadata"]["name"] for node in kind.api.list("/api/v1/nodes")]
    if len(nodes) < 2:
        pytest.skip("the cluster of E2E_CONTEXT has a single node: nothing could move from it")
    drained, *_ = nodes[1:]
    services = AgentServices(kind, namespace)
    with without_pods_on(kind, *(node for node in nodes if node != drained)):
        services.apply(replicas=2, runtime=SMALL)
        wait_ready(kind, namespace, "hello")
        services.wait(lambda service: service["status"].get("readyReplicas") == 2, deadline=120)
    assert {pod["spec"]["nodeName"] for pod in services.pods()} == {drained}

    with (
        load(kind, namespace, "hello", image=session.images.runtime, node=nodes[0]) as callers,
        followed(kind, namespace, "endpointslices", tmp_path) as slices,
    ):
        callers.wait_for_answers(50)
        with without_pods_on(kind, drained):
            mine = ["--pod-selector=agentservice.dev/service=hello", "--delete-emptydir-data"]
            timeout = f"--timeout={DRAINED_SECONDS}s"
            kind.kubectl("drain", drained, "--ignore-daemonsets", *mine, timeout, timeout=DRAINED_SECONDS + 10)
            services.wait(lambda service: service["status"].get("readyReplicas") == 2, deadline=120)
            callers.wait_for_answers(50)
            places = {pod["spec"]["nodeName"] for pod in services.pods()}
        lost = callers.lost()
        ready = [ready_endpoints(state) for state in slices.objects()]

    assert drained not in places
    assert lost == []
    assert min(ready) == 1  # one at a time left, which the budget of two replicas allows


@contextmanager
def without_pods_on(kind: Cluster, *nodes: str) -> Iterator[None]:
    """Let no new pod come to some nodes for the time of the block."""
    try:
        for node in nodes:
            kind.kubectl("cordon", node)
        yield
    finally:
        for node in nodes:
            kind.kubectl("uncordon", node)
