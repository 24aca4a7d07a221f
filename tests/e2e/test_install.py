"""The chart tests its own installation, and an upgrade of the operator leaves agents alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.cluster import Cluster
from dev.kind_session import Session
from dev.process import wait_until
from dev.release import NAMESPACE, accept_operator, install_operator
from tests.controlplane.agent_services import AgentServices, Object, condition, versions
from tests.e2e.agents import SMALL, wait_ready
from tests.e2e.history import followed
from tests.e2e.operators import wait_rolled_out
from tests.e2e.traffic import load


def test_helm_test_makes_an_agent_and_leaves_nothing_behind(kind: Cluster) -> None:
    said = accept_operator(kind)

    assert "is Ready" in said
    wait_until(lambda: not left_of_the_test(kind), deadline=90, describe=lambda: left_of_the_test(kind), interval=0.5)


def left_of_the_test(kind: Cluster) -> list[str]:
    """What it made: pods may take a while to end."""
    kinds = "agentservice,pod,role,rolebinding,serviceaccount"
    names = kind.kubectl("get", kinds, f"--namespace={NAMESPACE}", "--output=name").split()
    return [name for name in names if "test" in name]


@pytest.mark.alone
def test_an_upgrade_of_the_chart_with_two_operators_alive_rolls_no_agent(
    session: Session, kind: Cluster, namespace: str, tmp_path: Path
) -> None:
    services = AgentServices(kind, namespace)
    services.apply(runtime=SMALL)
    wait_ready(kind, namespace, "hello")
    before = services.get()
    pods = versions([{**pod, "kind": "Pod"} for pod in services.pods()])

    try:
        with (
            load(kind, namespace, "hello", image=session.images.runtime) as callers,
            followed(kind, NAMESPACE, "pods", tmp_path) as operators,
        ):
            callers.wait_for_answers(20)
            install_operator(kind, session.images, "replicas=2", "logLevel=debug")
            wait_rolled_out(kind)
            # Answered by a new operator, which has then looked at all there is.
            services.apply("another", runtime=SMALL)
            wait_ready(kind, namespace, "another")
            callers.wait_for_answers(20)
            lost = callers.lost()
            seen = operators.events()
    finally:
        install_operator(kind, session.images)

    assert max(map(len, versions_alive(seen))) == 2
    assert lost == []
    assert services.get() == before
    assert versions([{**pod, "kind": "Pod"} for pod in services.pods()]) == pods


def versions_alive(events: list[Object]) -> Iterator[set[str]]:
    """Which templates had Ready operators, after each event of their pods."""
    ready: dict[str, str] = {}
    for event in events:
        pod = event["object"]
        found = condition(pod, "Ready")
        template = pod["metadata"]["labels"].get("pod-template-hash")
        ready.pop(pod["metadata"]["name"], None)
        if event["type"] != "DELETED" and template and found is not None and found["status"] == "True":
            ready[pod["metadata"]["name"]] = template
        yield set(ready.values())
