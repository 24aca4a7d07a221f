"""Conversations on a volume outlive what runs them."""

from __future__ import annotations

from typing import Any

from dev.cluster import Cluster
from dev.kind_session import Session
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import SMALL, caller, wait_ready
from tests.e2e.volumes import volume_for

ON_VOLUME: dict[str, Any] = {"state": {"backend": "Volume", "volume": {"size": "1Gi"}}, "runtime": SMALL}
UNKNOWN = "0" * 32


def test_a_conversation_outlives_a_rollout_its_pod_and_its_agent_service(
    session: Session, kind: Cluster, namespace: str
) -> None:
    services = AgentServices(kind, namespace)
    with volume_for(session, namespace, "hello-data"):
        services.apply(**ON_VOLUME)
        wait_ready(kind, namespace, "hello")
        conversation = say(kind, namespace, "My name is Ada.")[1]["conversation_id"]
        assert say(kind, namespace, "And mine?", UNKNOWN)[0] == 404

        before = services.get()["status"]["currentRevision"]
        services.apply(**ON_VOLUME, agents=[{"name": "assistant", "systemPrompt": "Be brief."}])
        services.wait(lambda service: service["status"].get("currentRevision") not in (before, None), deadline=120)
        assert say(kind, namespace, "After a rollout?", conversation)[0] == 200

        (pod,) = services.pods()
        kind.api.delete(services.path("Pod", pod["metadata"]["name"]))
        wait_replaced(services, pod["metadata"]["uid"])
        wait_ready(kind, namespace, "hello")
        assert say(kind, namespace, "In another pod?", conversation)[0] == 200

        services.delete()
        services.wait_gone()
        wait_until(
            lambda: (
                [child["kind"] for child in services.children()] == ["PersistentVolumeClaim"] and not services.pods()
            ),
            deadline=120,
            describe=lambda: [child["kind"] for child in services.children()],
        )
        services.apply(**ON_VOLUME)
        wait_ready(kind, namespace, "hello")
        assert say(kind, namespace, "With another AgentService?", conversation)[0] == 200


def wait_replaced(services: AgentServices, uid: str) -> None:
    """Wait until another pod is there alone."""

    def replaced() -> bool:
        pods = services.pods()
        return len(pods) == 1 and pods[0]["metadata"]["uid"] != uid

    wait_until(replaced, deadline=120, describe=services.describe)


def say(kind: Cluster, namespace: str, message: str, conversation: str | None = None) -> tuple[int, dict[str, Any]]:
    """Status and document of an answer."""
    body = {"message": message, **({"conversation_id": conversation} if conversation else {})}
    with caller(kind, namespace, "hello") as client:
        answer = client.post("/v1/chat", json=body)
    return answer.status_code, answer.json()
