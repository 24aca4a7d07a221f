"""The main calls of the runtime, from a pod, through the Service of two replicas that share a database."""

from __future__ import annotations

import pytest

from dev.cluster import Cluster
from dev.kind_session import Session
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import SMALL, wait_ready
from tests.e2e.inside import Answer, inside
from tests.e2e.servers import DATABASE

ECHO = "Echo (no model is configured): "


@pytest.mark.usefixtures("postgresql")
def test_what_callers_do_works_from_a_pod(session: Session, kind: Cluster, namespace: str) -> None:
    services = AgentServices(kind, namespace)
    agents = [{"name": name, "systemPrompt": "Be brief."} for name in ("front", "back")]
    services.apply(replicas=2, runtime=SMALL, state=DATABASE, agents=agents, defaultAgent="front")
    wait_ready(kind, namespace, "hello")
    with inside(kind, namespace, "hello", image=session.images.runtime) as caller:
        chat = caller.call("POST", "/v1/chat", {"message": "Hello"})
        assert (chat.status, chat.json()["message"]) == (200, f"{ECHO}Hello")
        assert chat.json()["agent"] == "front"

        stream = caller.call("POST", "/v1/chat/stream", {"message": "Hello", "on_disconnect": "continue"})
        assert said(stream) == f"{ECHO}Hello"
        run = caller.call("GET", f"/v1/runs/{stream.events()[0]['run_id']}/events", headers={"Last-Event-ID": "1"})
        assert run.events() == stream.events()[1:]

        items = [{"message": "One"}, {"message": "Two", "agent": "back"}, {"message": "Three", "agent": "nobody"}]
        batch = caller.call("POST", "/v1/chat/batch", {"items": items}).json()
        assert [item["status"] for item in batch["items"]] == ["completed", "completed", "failed"]
        assert [item["result"]["message"] for item in batch["items"][:2]] == [f"{ECHO}One", f"{ECHO}Two"]
        assert batch["items"][2]["problem"]["code"] == "agent_not_found"

        conversation = chat.json()["conversation_id"]
        listed = caller.call("GET", "/v1/conversations").json()["items"]
        assert conversation in [item["id"] for item in listed]
        kept = caller.call("GET", f"/v1/conversations/{conversation}").json()["messages"]
        assert [message["content"] for message in kept] == ["Hello", f"{ECHO}Hello"]
        assert caller.call("DELETE", f"/v1/conversations/{conversation}").status == 204
        assert problem(caller.call("GET", f"/v1/conversations/{conversation}")) == (404, "conversation_not_found")

        accepted = caller.call("POST", "/v1/tasks", {"message": "Later"})
        assert accepted.status == 202
        events = caller.call("GET", f"{accepted.headers['location']}/events").events()
        assert [event["status"] for event in events] == ["pending", "running", "completed"]
        task = caller.call("GET", accepted.headers["location"]).json()
        assert (task["status"], task["result"]["message"]) == ("completed", f"{ECHO}Later")
        assert caller.call("DELETE", accepted.headers["location"]).status == 204

        named = caller.call("GET", "/v1/agents").json()["items"]
        assert {agent["name"] for agent in named} == {"front", "back"}
        assert caller.call("GET", "/v1/agents/back").json()["default"] is False

        health = caller.call("GET", "/health").json()
        assert health["status"] == "healthy"
        assert health["components"]["database"]["status"] == "healthy"
        live = caller.call("GET", "/health/live", headers={"X-API-Key": ""})
        assert live.status == 200

        assert problem(caller.call("GET", "/health", headers={"X-API-Key": ""})) == (401, "unauthenticated")
        assert problem(caller.call("POST", "/v1/chat", {"message": ""})) == (422, "invalid_input")


def said(stream: Answer) -> str:
    """The text of a stream."""
    return "".join(event["text"] for event in stream.events() if event["type"] == "delta")


def problem(answer: Answer) -> tuple[int, str]:
    """Status and code of a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, answer.json()["code"]
