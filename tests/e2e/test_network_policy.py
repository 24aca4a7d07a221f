"""What the NetworkPolicy of an agent says is what happens to packets; who may not call it is not even connected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent_runtime.config import ADMIN_PORT, SERVING_PORT
from dev.cluster import Cluster
from dev.kind_session import Session
from dev.process import wait_until
from dev.release import NAMESPACE
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import SMALL, caller, wait_ready
from tests.e2e.traffic import fake_messages_api, knocker

APPLIED_DEADLINE = 60.0


@pytest.fixture
def elsewhere(kind: Cluster, namespace: str) -> Iterator[str]:
    """Another namespace than that of the agent."""
    name = f"{namespace[:55]}-too"
    kind.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    kind.api.delete(f"/api/v1/namespaces/{name}")


def test_only_who_may_reaches_the_ports_of_an_agent(
    session: Session, kind: Cluster, namespace: str, elsewhere: str
) -> None:
    services = AgentServices(kind, namespace)
    services.apply(runtime=SMALL)
    wait_ready(kind, namespace, "hello")
    [pod] = services.pods()
    chat, admin = (f"{pod['status']['podIP']}:{port}" for port in (SERVING_PORT, ADMIN_PORT))
    image = session.images.runtime

    with (
        knocker(kind, namespace, chat, admin, image=image) as neighbour,
        knocker(kind, elsewhere, chat, admin, image=image) as stranger,
        knocker(kind, NAMESPACE, chat, admin, image=image) as operator,
    ):
        neighbour.wait_until(chat, reached=True)
        neighbour.wait_until(admin, reached=False)
        stranger.wait_until(chat, reached=False)
        stranger.wait_until(admin, reached=False)
        operator.wait_until(chat, reached=False)
        operator.wait_until(admin, reached=True)

        friends = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": elsewhere}}}
        services.apply(runtime=SMALL, networkPolicy={"allowFrom": [friends]})
        stranger.wait_until(chat, reached=True)
        stranger.wait_until(admin, reached=False)
        operator.wait_until(chat, reached=False)

        services.apply(runtime=SMALL, networkPolicy={"mode": "Disabled"})
        for anybody in (neighbour, stranger, operator):
            anybody.wait_until(chat, reached=True)
            anybody.wait_until(admin, reached=True)
    [same] = services.pods()
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]


def test_an_agent_reaches_only_what_it_may(session: Session, kind: Cluster, namespace: str) -> None:
    services = AgentServices(kind, namespace)
    url = fake_messages_api(kind, namespace, image=session.images.runtime)
    secret = {"metadata": {"name": "provider", "namespace": namespace}, "stringData": {"api-key": "fake-key-of-a-test"}}
    kind.api.create({"apiVersion": "v1", "kind": "Secret", **secret})
    credentials = {"secretKeyRef": {"name": "provider", "key": "api-key"}}
    anthropic = {"model": "claude-fake", "baseURL": url, "credentials": credentials}
    model = {
        "name": "main",
        "provider": "Anthropic",
        "anthropic": anthropic,
        "firstTokenTimeoutSeconds": 3,
        "retries": 0,
    }
    provider = {"podSelector": {"matchLabels": {"test": "fake-messages-api"}}}

    def allow(peer: dict[str, Any]) -> None:
        services.apply(runtime=SMALL, models=[model], networkPolicy={"allowTo": [{"to": [peer]}]})

    allow(provider)
    wait_ready(kind, namespace, "hello")
    wait_for_answer(kind, namespace, 200)

    allow({"podSelector": {"matchLabels": {"test": "another"}}})
    wait_for_answer(kind, namespace, 502)

    allow(provider)
    wait_for_answer(kind, namespace, 200)


def wait_for_answer(kind: Cluster, namespace: str, status: int) -> None:
    """Wait until chats end with a status."""
    answers = []
    with caller(kind, namespace, "hello") as client:

        def answered() -> bool:
            answer = client.post("/v1/chat", json={"message": "Hello"})
            answers.append((answer.status_code, answer.text))
            return answer.status_code == status

        wait_until(answered, deadline=APPLIED_DEADLINE, describe=lambda: json.dumps(answers[-5:]), interval=0.5)
