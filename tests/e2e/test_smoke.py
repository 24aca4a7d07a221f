"""The demo's path: install, apply, wait, chat, delete."""

from __future__ import annotations

import pytest

from dev.cluster import Cluster
from dev.process import wait_until
from tests.e2e.agents import EXAMPLES, apply_file, caller, contents, events_of, wait_ready

pytestmark = pytest.mark.smoke

GONE_DEADLINE = 60.0
"""Seconds; a pod first serves on as a lame duck, so that no caller is cut off."""


def test_hello_answers_whoever_has_its_key(kind: Cluster, namespace: str) -> None:
    assert apply_file(kind, namespace, EXAMPLES / "hello.yaml") == ["hello"]
    wait_ready(kind, namespace, "hello")

    with caller(kind, namespace, "hello") as client:
        answer = client.post("/v1/chat", json={"message": "Hello"})
        stream = client.post("/v1/chat/stream", json={"message": "Hello"})
        refused = client.post("/v1/chat", json={"message": "Hello"}, headers={"X-API-Key": "asv_not-the-key"})
        del client.headers["X-API-Key"]
        anonymous = client.post("/v1/chat", json={"message": "Hello"})

    assert answer.status_code == 200, answer.text
    assert answer.json()["message"] == "Echo (no model is configured): Hello"
    assert answer.json()["agent"] == "assistant"
    assert stream.headers["content-type"].startswith("text/event-stream"), stream.text
    events = events_of(stream.text)
    assert [event["type"] for event in events][:1] + [event["type"] for event in events][-1:] == ["start", "done"]
    text = "".join(event["text"] for event in events if event["type"] == "delta")
    assert text == answer.json()["message"]
    for unknown in (refused, anonymous):
        assert unknown.status_code == 401
        assert unknown.headers["content-type"] == "application/problem+json"
        assert unknown.json()["code"] == "unauthenticated"
        assert unknown.headers["www-authenticate"]


def test_a_deleted_agent_service_leaves_nothing_behind(kind: Cluster, namespace: str) -> None:
    before = contents(kind, namespace)
    apply_file(kind, namespace, EXAMPLES / "hello.yaml")
    wait_ready(kind, namespace, "hello")
    assert len(contents(kind, namespace) - before) >= 8  # itself, five children, a ReplicaSet, a pod, ...

    kind.kubectl("delete", f"--namespace={namespace}", f"--filename={EXAMPLES / 'hello.yaml'}")

    wait_until(
        lambda: contents(kind, namespace) == before,
        deadline=GONE_DEADLINE,
        describe=lambda: f"still there: {sorted(contents(kind, namespace) - before)}",
        interval=0.5,
    )
