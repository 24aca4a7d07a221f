"""Pods may be replaced as often as one likes: whoever waits for an answer gets it, or is told what can be read on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dev.cluster import Cluster
from dev.kind_session import Session
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices, condition
from tests.e2e.agents import SMALL, wait_ready
from tests.e2e.servers import DATABASE
from tests.e2e.traffic import asked, direct, fake_messages_api, load, models_of

RESTARTS = 20
A_POD_DELETED_EVERY = 4
"""One restart of so many is the deletion of one of the two pods, as by a node that is drained."""
REPLACED_DEADLINE = 120.0


@pytest.mark.usefixtures("postgresql")
def test_restarts_lose_no_answer(session: Session, kind: Cluster, namespace: str) -> None:
    services = AgentServices(kind, namespace)
    url = fake_messages_api(kind, namespace, image=session.images.runtime)
    answer_slowly(kind, namespace, delta_delay=0.25)
    # All pods at once are replaced, as fast as new ones are ready.
    serve(services, url, rollout={"maxSurge": "100%"}, lameDuckSeconds=10)

    kinds = ("chat", "stream", "run", "batch", "conversation")
    with load(kind, namespace, "hello", image=session.images.runtime, kinds=kinds, callers=2, pace=2) as callers:
        callers.wait_for_answers(50)
        for number in range(1, RESTARTS + 1):
            if number % A_POD_DELETED_EVERY:
                restart(services)
            else:
                replace_one(services)
        callers.wait_for_answers(50)
        lost = callers.lost()
        answered = {call["kind"] for call in callers.calls()}

    assert lost == [], json.dumps(lost)
    assert answered == set(kinds)


@pytest.mark.usefixtures("postgresql")
def test_a_stream_that_a_restart_cuts_is_told_so_and_can_be_read_on(
    session: Session, kind: Cluster, namespace: str
) -> None:
    services = AgentServices(kind, namespace)
    url = fake_messages_api(kind, namespace, image=session.images.runtime)
    answer_slowly(kind, namespace, delta_delay=5)
    serve(services, url, lameDuckSeconds=2, drainSeconds=1)

    with load(
        kind, namespace, "hello", image=session.images.runtime, kinds=("stream", "run"), callers=3, pace=1
    ) as callers:
        wait_until(lambda: len(asked(kind, namespace)) >= 6, deadline=60, describe=callers.calls, interval=0.5)
        restart(services)
        wait_until(lambda: len(callers.calls()) >= 6, deadline=60, describe=callers.calls, interval=0.5)
        ended = callers.calls()

    untold = [call for call in ended if call["outcome"] != "shutting_down"]
    assert untold == [], json.dumps(untold)
    assert {call["kind"] for call in ended} == {"stream", "run"}


def serve(services: AgentServices, url: str, **runtime: Any) -> None:
    """Two pods that ask the provider at that address and share a database."""
    services.apply(replicas=2, runtime={**SMALL, **runtime}, models=models_of(services, url), state=DATABASE)
    wait_ready(services.cluster, services.namespace, "hello")
    services.wait(lambda service: service["status"].get("readyReplicas") == 2, deadline=REPLACED_DEADLINE)


def answer_slowly(kind: Cluster, namespace: str, *, delta_delay: float) -> None:
    """Let the provider answer in five pieces with so many seconds between them."""
    direct(kind, namespace, {"delta_delay": delta_delay, "times": "always"})


def restart(services: AgentServices) -> None:
    """Restart as people do, and wait until other pods serve."""
    before = serving(services)
    services.cluster.kubectl("rollout", "restart", "deployment/hello", f"--namespace={services.namespace}")
    wait_until(
        lambda: len(serving(services) - before) == 2 and not serving(services) & before,
        deadline=REPLACED_DEADLINE,
        describe=services.describe,
        interval=0.2,
    )


def replace_one(services: AgentServices) -> None:
    """Delete a pod, and wait until another one serves in its place."""
    before = serving(services)
    gone = min(before)
    services.cluster.api.delete(services.path("Pod", gone))
    wait_until(
        lambda: gone not in serving(services) and len(serving(services)) == 2,
        deadline=REPLACED_DEADLINE,
        describe=services.describe,
        interval=0.2,
    )


def serving(services: AgentServices) -> set[str]:
    """The names of the pods that are ready and stay."""
    ready = {
        pod["metadata"]["name"]: condition(pod, "Ready")
        for pod in services.pods()
        if "deletionTimestamp" not in pod["metadata"]
    }
    return {name for name, found in ready.items() if found and found["status"] == "True"}
