"""A database that all pods share: conversations go on anywhere, and a database that fails takes nothing with it."""

from __future__ import annotations

from typing import Any

import pytest

from dev.cluster import Cluster
from dev.kind_session import Session
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import SMALL, wait_ready
from tests.e2e.inside import inside
from tests.e2e.servers import DATABASE, Server
from tests.e2e.traffic import load

SHARED: dict[str, Any] = {"replicas": 2, "runtime": SMALL, "state": DATABASE}


@pytest.mark.usefixtures("postgresql")
def test_a_conversation_goes_on_in_another_pod_and_after_a_rollout(
    session: Session, kind: Cluster, namespace: str
) -> None:
    services = AgentServices(kind, namespace)
    services.apply(**SHARED)
    wait_ready(kind, namespace, "hello")
    services.wait(lambda service: service["status"].get("readyReplicas") == 2, deadline=120)

    with inside(kind, namespace, "hello", image=session.images.runtime) as caller:
        one, other = (f"http://{pod['status']['podIP']}:8080/v1" for pod in services.pods())
        begun = caller.call("POST", f"{one}/chat", {"message": "My name is Ada."}).json()
        going_on = {"conversation_id": begun["conversation_id"]}
        assert caller.call("POST", f"{other}/chat", {"message": "And mine?", **going_on}).status == 200

        before = services.get()["status"]["currentRevision"]
        services.apply(**SHARED, agents=[{"name": "assistant", "systemPrompt": "Be brief."}])
        services.wait(lambda service: service["status"].get("currentRevision") not in (before, None), deadline=120)
        assert caller.call("POST", "/v1/chat", {"message": "After a rollout?", **going_on}).status == 200
        whole = caller.call("GET", f"/v1/conversations/{begun['conversation_id']}").json()

    said = [message["content"] for message in whole["messages"] if message["role"] == "user"]
    assert said == ["My name is Ada.", "And mine?", "After a rollout?"]


def test_a_database_that_goes_and_comes_again_loses_nothing_and_stops_nobody_who_needs_none(
    session: Session, kind: Cluster, namespace: str, postgresql: Server
) -> None:
    services = AgentServices(kind, namespace)
    services.apply(**SHARED)
    wait_ready(kind, namespace, "hello")

    image = session.images.runtime
    with load(kind, namespace, "hello", image=image, kinds=("stateless", "conversation")) as callers:
        callers.wait_for_answers(40)
        postgresql.stop()
        wait_until(
            lambda: callers.outcomes()["503 state_unavailable"], deadline=60, describe=callers.outcomes, interval=0.5
        )
        callers.wait_for_answers(40)  # of those who need no database
        postgresql.start()
        callers.wait_for_answers(40, kind="conversation")
        wait_until(
            lambda: all(outcomes[-1] == "200" for outcomes in by_conversation(callers.calls()).values()),
            deadline=60,
            describe=lambda: by_conversation(callers.calls()),
            interval=0.5,
        )
        calls = callers.calls()
    conversations = set(by_conversation(calls))
    with inside(kind, namespace, "hello", image=image) as caller:
        kept = {name: caller.call("GET", f"/v1/conversations/{name}").json() for name in conversations}

    assert {call["outcome"] for call in calls if call["kind"] == "stateless"} == {"200"}
    stored = [call for call in calls if call["kind"] == "conversation"]
    # What was being answered when the database went holds its conversation until it can be told that it is over.
    assert {call["outcome"] for call in stored} - {"409 conversation_busy"} == {"200", "503 state_unavailable"}
    for name, conversation in kept.items():
        found = {message["content"] for message in conversation["messages"]}
        answered = {call["said"] for call in stored if call["outcome"] == "200" and call["conversation_id"] == name}
        assert answered <= found, f"lost: {sorted(answered - found)}"
    assert not any(pod["status"]["containerStatuses"][0]["restartCount"] for pod in services.pods())


def by_conversation(calls: list[dict[str, Any]]) -> dict[str, list[str]]:
    """How the calls in each conversation ended, in their order."""
    outcomes: dict[str, list[str]] = {}
    for call in calls:
        if "conversation_id" in call:
            outcomes.setdefault(call["conversation_id"], []).append(call["outcome"])
    return outcomes
