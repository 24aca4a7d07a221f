"""State in a database: pods wait for its URL, and share what is in it."""

from __future__ import annotations

from typing import Any

from tests.controlplane.agent_services import AgentServices, conditions
from tests.controlplane.operator_process import OperatorProcess

URL = {"urlFrom": {"secretKeyRef": {"name": "database", "key": "url"}}}
ON_POSTGRESQL: dict[str, Any] = {"state": {"backend": "PostgreSQL", "postgreSQL": URL}}


def test_pods_wait_for_the_url_of_their_database_and_share_it(services: AgentServices) -> None:
    services.apply(**ON_POSTGRESQL, replicas=2)
    waiting = services.wait_not_ready("ReferenceNotFound")
    message = next(each["message"] for each in waiting["status"]["conditions"] if each["type"] == "Ready")
    assert "Secret database" in message
    assert "the URL of the database" in message
    assert not services.pods()

    services.make_secret("database", url="postgresql://agents:not-a-secret@postgresql/agents")
    ready = services.wait_ready()

    assert "StateShared" not in conditions(ready)
    assert services.child("Service")["spec"]["sessionAffinity"] == "None"


def test_the_way_to_a_database_and_back_is_one_rollout_each(operator: OperatorProcess, services: AgentServices) -> None:
    del operator
    services.make_secret("database", url="postgresql://agents:not-a-secret@postgresql/agents")
    services.apply(replicas=2)
    assert conditions(services.wait_ready())["StateShared"] == ("False", "PerPodState")

    services.apply(**ON_POSTGRESQL, replicas=2)
    services.wait(lambda service: "StateShared" not in conditions(service))
    services.wait_ready()
    services.apply(replicas=2)
    services.wait(lambda service: "StateShared" in conditions(service))
    services.wait_ready()

    spec = services.child("Service")["spec"]
    assert (spec["sessionAffinity"], spec["sessionAffinityConfig"]) == (
        "ClientIP",
        {"clientIP": {"timeoutSeconds": 10800}},
    )
    assert len(services.replica_sets()) == 2
