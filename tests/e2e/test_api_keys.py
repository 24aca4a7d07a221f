"""Keys change without a restart: a lost one is replaced, a rotated one stays valid until the next rotation."""

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


def test_a_rotated_key_works_beside_the_previous_one_until_the_next(kind: Cluster, namespace: str) -> None:
    services = AgentServices(kind, namespace)
    services.apply(runtime=SMALL)
    wait_ready(kind, namespace, "hello")
    [pod] = services.pods()
    keys = [api_key(kind, namespace, "hello")]

    with caller(kind, namespace, "hello") as client:
        for rotation, valid in ((2, 2), (3, 2)):
            services.apply(runtime=SMALL, access={"apiKeys": {"rotation": rotation}})
            keys.append(wait_until(lambda: another_key(kind, namespace, keys), deadline=60, describe=services.describe))
            wait_until(
                lambda: status(client, keys[-1]) == 200,
                deadline=MOUNTED_DEADLINE,
                describe="the new key is refused",
                interval=1,
            )
            assert [status(client, key) for key in keys] == [401] * (len(keys) - valid) + [200] * valid
    [same] = services.pods()
    assert same["metadata"]["uid"] == pod["metadata"]["uid"]


def another_key(kind: Cluster, namespace: str, known: list[str]) -> str | None:
    """The key in the Secret, once it is none of the known ones."""
    key = api_key(kind, namespace, "hello")
    return None if key in known else key


def status(client: httpx2.Client, key: str) -> int:
    """How a chat with a key ends."""
    return client.post("/v1/chat", json={"message": "Hello"}, headers={"X-API-Key": key}).status_code
