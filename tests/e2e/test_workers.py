"""Workers in pods of their own: they do what the servers take, and a worker that dies leaves its task to another."""

from __future__ import annotations

from typing import Any

import pytest

from dev.cluster import Cluster
from dev.engine import Engine
from dev.kind_session import Session
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import SMALL, wait_ready
from tests.e2e.inside import Caller, inside
from tests.e2e.servers import DATABASE
from tests.e2e.traffic import asked, direct, fake_messages_api, models_of

SHARED: dict[str, Any] = {**DATABASE, "redis": {"urlFrom": {"secretKeyRef": {"name": "redis", "key": "url"}}}}
TAKEN_OVER = 90.0
"""Seconds until another worker has done what a dead one began: its lease lasts 30."""


@pytest.mark.usefixtures("postgresql", "redis")
def test_the_task_of_a_worker_that_is_killed_is_done_by_another(
    session: Session, kind: Cluster, namespace: str
) -> None:
    assert session.engine is not None  # or there were no servers, whose fixtures say why
    services = AgentServices(kind, namespace)
    url = fake_messages_api(kind, namespace, image=session.images.runtime)
    direct(kind, namespace, {"headers_delay": 3600}, {"deltas": ["Done."]})
    spec: dict[str, Any] = {"runtime": SMALL, "models": models_of(services, url), "state": SHARED}
    services.apply(**spec, tasks={"workers": 1})
    wait_ready(kind, namespace, "hello")
    [first] = workers(services)

    with inside(kind, namespace, "hello", image=session.images.runtime) as caller:
        task = caller.call("POST", "/v1/tasks", {"message": "Hi"})
        assert task.status == 202
        location = task.headers["location"]
        wait_until(lambda: asked(kind, namespace), deadline=60, describe=services.describe, interval=0.5)
        services.apply(**spec, tasks={"workers": 2})
        services.wait(lambda service: "2 of 2 workers" in str(service["status"]), deadline=120)

        kill(session.engine, first)
        services.cluster.api.delete(services.path("Pod", first["metadata"]["name"]), gracePeriodSeconds="0")
        done = wait_until(
            lambda: finished(caller, location), deadline=TAKEN_OVER, describe=services.describe, interval=1
        )
        kept = caller.call("GET", f"/v1/conversations/{done['conversation_id']}").json()["messages"]

    assert (done["status"], done["result"]["message"]) == ("completed", "Done.")
    assert [message["content"] for message in kept] == ["Hi", "Done."]
    assert len(asked(kind, namespace)) == 2


def workers(services: AgentServices) -> list[dict[str, Any]]:
    """The pods that do tasks."""
    selector = "app.kubernetes.io/component=worker"
    path = services.cluster.api.path("v1", "Pod", namespace=services.namespace)
    found: list[dict[str, Any]] = services.cluster.api.get(path, labelSelector=selector)["items"]
    return found


def kill(engine: Engine, pod: dict[str, Any]) -> None:
    """End the process of a pod at once: kubectl would ask it first, and nothing within the pod can kill process 1."""
    node, container = pod["spec"]["nodeName"], pod["status"]["containerStatuses"][0]["containerID"].partition("//")[2]
    tasks = engine.docker("exec", node, "ctr", "--namespace=k8s.io", "tasks", "list")
    [process] = [line.split()[1] for line in tasks.splitlines() if line.startswith(container)]
    engine.docker("exec", node, "kill", "-9", process)


def finished(caller: Caller, location: str) -> dict[str, Any] | None:
    """The task, if it has come to its end."""
    task: dict[str, Any] = caller.call("GET", location).json()
    return task if task["completed_at"] else None
