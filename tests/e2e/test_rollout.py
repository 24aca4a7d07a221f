"""Nobody who calls an agent loses a request to a rollout."""

from __future__ import annotations

import pytest

from dev.cluster import Cluster
from dev.kind_session import Session
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import SMALL, wait_ready
from tests.e2e.traffic import load

ANSWERS_AROUND = 50
"""Answers that must come before the rollout begins and after it has ended."""


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_rollout_under_load_loses_no_request(session: Session, kind: Cluster, namespace: str, replicas: int) -> None:
    services = AgentServices(kind, namespace)
    services.apply(replicas=replicas, runtime=SMALL)
    wait_ready(kind, namespace, "hello")
    before = services.get()["status"]["currentRevision"]
    old = {pod["metadata"]["name"] for pod in services.pods()}

    with load(kind, namespace, "hello", image=session.images.runtime) as callers:
        callers.wait_for_answers(ANSWERS_AROUND)
        prompt = [{"name": "assistant", "systemPrompt": "You are another assistant."}]
        services.apply(replicas=replicas, runtime=SMALL, agents=prompt)
        services.wait(lambda service: service["status"].get("currentRevision") not in (before, None), deadline=120)
        services.wait(lambda _: not old & {pod["metadata"]["name"] for pod in services.pods()}, deadline=120)
        callers.wait_for_answers(ANSWERS_AROUND)
        lost = callers.lost()

    assert lost == []
