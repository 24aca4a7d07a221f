"""The chart tests its own installation, and an upgrade of the operator leaves agents alone."""

from __future__ import annotations

import pytest

from dev.cluster import Cluster
from dev.kind_session import Session
from dev.process import wait_until
from dev.release import NAMESPACE, accept_operator, install_operator
from tests.controlplane.agent_services import AgentServices, versions
from tests.e2e.agents import SMALL, wait_ready
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
    session: Session, kind: Cluster, namespace: str
) -> None:
    services = AgentServices(kind, namespace)
    services.apply(runtime=SMALL)
    wait_ready(kind, namespace, "hello")
    before = services.get()
    pods = versions([{**pod, "kind": "Pod"} for pod in services.pods()])

    try:
        with load(kind, namespace, "hello", image=session.images.runtime) as callers:
            callers.wait_for_answers(20)
            install_operator(kind, session.images, "replicas=2", "logLevel=debug")
            services.apply(
                "another", runtime=SMALL
            )  # answered by a new operator, which has then looked at all there is
            wait_ready(kind, namespace, "another")
            callers.wait_for_answers(20)
            lost = callers.lost()
    finally:
        install_operator(kind, session.images)

    assert lost == []
    assert services.get() == before
    assert versions([{**pod, "kind": "Pod"} for pod in services.pods()]) == pods
