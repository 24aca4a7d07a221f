"""Every example does on a real cluster what its comments say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.cluster import Cluster
from dev.kind_session import Session
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices, verdict
from tests.e2e.agents import EXAMPLES, apply_file, caller, wait_ready
from tests.e2e.servers import postgresql
from tests.e2e.traffic import fake_messages_api
from tests.e2e.volumes import volume_for

FILES = sorted(EXAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_gets_ready_and_all_its_agents_answer(
    session: Session, kind: Cluster, namespace: str, file: Path
) -> None:
    services = AgentServices(kind, namespace)
    with stored(session, namespace, file):
        check(session, services, file)


def check(session: Session, services: AgentServices, file: Path) -> None:
    kind, namespace = services.cluster, services.namespace
    names = apply_file(kind, namespace, file)
    assert names

    for name in names:
        if uses_provider(services.get(name)):
            provide(services, name, image=session.images.runtime)
        assert "condition met" in wait_ready(kind, namespace, name)
        service = services.get(name)
        with caller(kind, namespace, name) as client:
            for agent in service["spec"]["agents"]:
                answer = client.post("/v1/chat", json={"message": "Are you there?", "agent": agent["name"]})
                assert answer.status_code == 200, answer.text
                assert answer.json()["agent"] == agent["name"]
                assert answer.json()["message"] in (
                    "Hello from the fake model.",
                    "Echo (no model is configured): Are you there?",
                )


@contextmanager
def stored(session: Session, namespace: str, file: Path) -> Iterator[None]:
    """Where the AgentServices in a file keep their state: a volume for a claim, a database."""
    with ExitStack() as stack:
        for document in yaml.safe_load_all(file.read_text()):
            backend = document.get("spec", {}).get("state", {}).get("backend")
            if backend == "Volume":
                stack.enter_context(volume_for(session, namespace, f"{document['metadata']['name']}-data"))
            elif backend == "PostgreSQL":
                stack.enter_context(postgresql(session, namespace))
        yield


def uses_provider(service: dict[str, Any]) -> bool:
    return any("anthropic" in model for model in service["spec"]["models"])


def provide(services: AgentServices, name: str, *, image: str) -> None:
    """Give an example its provider: it waits for the Secret that its comments name, and asks our fake of the API."""
    services.wait_not_ready("ReferenceNotFound", name)
    url = fake_messages_api(services.cluster, services.namespace, image=image)
    models = [
        {**model, "anthropic": {**model["anthropic"], "baseURL": url}} if "anthropic" in model else model
        for model in services.get(name)["spec"]["models"]
    ]
    services.patch({"spec": {"models": models}}, name)
    secret = ["secret", "generic", "anthropic", "--from-literal=api-key=not-a-real-key"]
    services.cluster.kubectl("create", *secret, f"--namespace={services.namespace}")
    wait_until(
        lambda: verdict(services.get(name)) != ("False", "ReferenceNotFound"),
        deadline=30,
        describe=lambda: services.describe(name),
    )
