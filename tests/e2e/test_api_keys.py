"""A lost key is replaced: the new one works without a restart, the old one no longer."""

from __future__ import annotations

import httpx2

from dev.agent_client import api_key
from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import SMALL, caller, wait_ready

MADE_DEADLINE = 150.0
"""Seconds; the Secret is not watched but looked at, every two minutes at most."""
MOUNTED_DEADLINE = 180.0
"""Seconds; the kubelet renews mounted Secrets every minute, with jitter."""


def test_a_deleted_key_is_replaced_in_running_pods(kind: Cluster, namespace: str) -> None:
    services = AgentServices(kind, namespace)
    services.apply(runtime=SMALL)
    wait_ready(kind, namespace, "hello")
    [pod] = services.pods()
    path = services.path("Secret", "hello-api-keys")
    old = api_key(kind, namespace, "hello")

    kind.api.delete(path)
    wait_until(lambda: kind.api.find(path), deadline=MADE_DEADLINE, describe=services.describe, interval=1)
    new = api_key(kind, namespace, "hello")
    assert new != old

    with caller(kind, namespace, "hello") as client:
        wait_until(
            lambda: status(client, new) == 200, deadline=MOUNTED_DEADLINE, describe="the new key is refused", interval=1
        )
        assert status(client, old) == 401
    [same] = services.pods()
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]
    assert sum(container["restartCount"] for container in same["status"]["containerStatuses"]) == 0


def status(client: httpx2.Client, key: str) -> int:
    """How a chat with a key ends."""
    return client.post("/v1/chat", json={"message": "Hello"}, headers={"X-API-Key": key}).status_code
