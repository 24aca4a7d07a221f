"""Agents do not need the operator to live, nor to be deleted."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dev.cluster import Cluster
from dev.kind_session import Session
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices, versions
from tests.e2e.agents import SMALL, contents, wait_ready
from tests.e2e.operators import HERE, OPERATOR, operator_count, scale_operator, wait_rolled_out
from tests.e2e.traffic import load

pytestmark = pytest.mark.alone

DELETED_SECONDS = 5.0


@pytest.fixture
def replicas(kind: Cluster) -> Iterator[int]:
    """How many operators there are, and will be again after the test."""
    count = operator_count(kind)
    yield count
    scale_operator(kind, count)


def test_agents_live_and_die_without_the_operator(
    session: Session, kind: Cluster, namespace: str, replicas: int
) -> None:
    services = AgentServices(kind, namespace)
    before = contents(kind, namespace)
    for name in ("stays", "goes"):
        services.apply(name, runtime=SMALL)
        wait_ready(kind, namespace, name)
    children = versions(services.children("stays"))

    with load(kind, namespace, "stays", image=session.images.runtime) as callers:
        scale_operator(kind, 0)
        callers.wait_for_answers(50)
        begin = time.monotonic()
        kind.kubectl("delete", "agentservice", "goes", f"--namespace={namespace}", timeout=60)
        took = time.monotonic() - begin
        wait_until(
            lambda: not services.children("goes") and not services.pods("goes"),
            deadline=90,
            describe=lambda: services.describe("goes"),
            interval=0.5,
        )
        services.apply("comes", runtime=SMALL)
        scale_operator(kind, replicas)
        wait_ready(kind, namespace, "comes")
        callers.wait_for_answers(20)
        lost = callers.lost()

    assert took <= DELETED_SECONDS, f"kubectl delete took {took:.1f} s"
    assert lost == []
    assert before <= contents(kind, namespace)
    mine = {kind: version for kind, version in versions(services.children("stays")).items() if "Deployment" not in kind}
    assert mine == {kind: version for kind, version in children.items() if "Deployment" not in kind}


def test_a_restarted_operator_changes_no_agent(kind: Cluster, namespace: str) -> None:
    services = AgentServices(kind, namespace)
    services.apply(runtime=SMALL)
    wait_ready(kind, namespace, "hello")
    service = services.get()
    pods = versions([{**pod, "kind": "Pod"} for pod in services.pods()])

    kind.kubectl("rollout", "restart", OPERATOR, HERE)
    wait_rolled_out(kind)
    services.apply("another", runtime=SMALL)  # answered by a new operator, which has then looked at all there is
    wait_ready(kind, namespace, "another")

    assert services.get() == service
    assert versions([{**pod, "kind": "Pod"} for pod in services.pods()]) == pods
