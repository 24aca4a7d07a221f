"""A rotation makes one new key and keeps the one before, whatever happens to the operator meanwhile."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dev.api_client import ApiError
from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, condition
from tests.controlplane.fault_campaign import CRASHES, ON_WRITES, Case, Outcome, run
from tests.controlplane.fault_lane import Step, lane, record_twice
from tests.controlplane.operator_process import OperatorProcess, said

SECRET = "hello-api-keys"
REFUSED = "siv-5 422 for"
"""Is an answer, not a fault: it is shown, and tried again with the next regular look."""


def rotated(number: int) -> dict[str, Any]:
    """The part of a spec that asks for the nth key."""
    return {"access": {"apiKeys": {"rotation": number}}}


def keys(services: AgentServices) -> dict[str, str]:
    """The keys in the Secret."""
    data = services.cluster.api.get(services.path("Secret", SECRET)).get("data") or {}
    return {name: b64decode(value).decode() for name, value in data.items()}


def wait_rotated(services: AgentServices, before: str) -> dict[str, str]:
    """Wait until the key is another one."""
    return wait_until(
        lambda: found if (found := keys(services))["default"] != before else None,
        deadline=DEADLINE,
        describe=services.describe,
    )


def test_each_rotation_is_one_write_and_keeps_the_key_before(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()
    services.wait_ready()
    first = keys(services)
    operator.settle()
    before = operator.audit.mark()

    services.apply(**rotated(2))
    second = wait_rotated(services, first["default"])
    services.apply(**rotated(7))
    third = wait_rotated(services, second["default"])
    services.wait_ready()
    operator.settle()

    assert first.keys() == {"default"}
    assert second == {"default": second["default"], "default.previous": first["default"]}
    assert third == {"default": third["default"], "default.previous": second["default"]}
    assert len({first["default"], second["default"], third["default"]}) == 3
    writes = [write for write in operator.writes(since=before) if write.resource == "secrets"]
    assert said(writes) == ["patch secrets hello-api-keys 200"] * 2
    assert len(services.replica_sets()) == 1
    assert keys(services) == third


def test_a_rotation_cannot_be_taken_back(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply(**rotated(2))
    services.wait_ready()

    with pytest.raises(ApiError, match=r"spec\.access\.apiKeys\.rotation.*rotation can only grow"):
        services.apply(**rotated(1))
    with pytest.raises(ApiError, match="rotation can only grow"):
        services.apply()  # the default is 1
    assert operator.child.exit_code is None


def test_a_lost_secret_of_a_rotated_key_begins_with_one_key(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply()
    services.wait_ready()
    first = keys(services)["default"]
    services.apply(**rotated(2))
    wait_rotated(services, first)

    services.cluster.api.delete(services.path("Secret", SECRET))
    services.patch({"spec": {"inheritedMetadata": {"labels": {"example.com/team": "a"}}}})
    wait_until(
        lambda: services.cluster.api.find(services.path("Secret", SECRET)),
        deadline=DEADLINE,
        describe=services.describe,
    )
    operator.settle()

    assert keys(services).keys() == {"default"}


def test_keys_that_somebody_else_keeps_are_mounted_and_the_generated_one_stays(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()
    services.wait_ready()
    generated = services.cluster.api.get(services.path("Secret", SECRET))

    services.apply(access=kept_by_others("web"))
    waiting = services.wait_not_ready("ReferenceNotFound")
    secret = services.make_secret("callers", mobile="key-of-mobile-for-tests")
    keyless = services.wait(lambda service: "has no key web" in message(service))
    still = services.child("Deployment")["spec"]["template"]["spec"]["volumes"]
    set_key(services, "key-of-web-for-tests")
    services.wait_ready()
    sets = len(services.replica_sets())
    set_key(services, "another-key-of-web-for-tests")
    operator.settle()

    assert "Secret callers does not exist; it is needed for the API key of client web" in message(waiting)
    assert "it is needed for the API key of client web" in message(keyless)
    assert mounted(still) == SECRET
    assert mounted(services.child("Deployment")["spec"]["template"]["spec"]["volumes"]) == secret["metadata"]["name"]
    assert len(services.replica_sets()) == sets, "a new key was rolled out"
    assert services.cluster.api.get(services.path("Secret", SECRET)) == generated

    services.apply()
    services.wait_ready()

    assert mounted(services.child("Deployment")["spec"]["template"]["spec"]["volumes"]) == SECRET
    assert services.cluster.api.get(services.path("Secret", SECRET)) == generated


def kept_by_others(*clients: str) -> dict[str, Any]:
    """Access by keys in the Secret callers."""
    return {
        "apiKeys": {"source": "Secret", "secretRef": {"name": "callers"}},
        "clients": [{"name": client} for client in clients],
    }


def set_key(services: AgentServices, key: str) -> None:
    """Give the client web a key."""
    services.cluster.api.patch(services.path("Secret", "callers"), {"stringData": {"web": key}})


def mounted(volumes: list[dict[str, Any]]) -> str:
    """The Secret that pods have their API keys from."""
    (found,) = (volume["secret"]["secretName"] for volume in volumes if volume["name"] == "api-keys")
    return str(found)


def message(service: dict[str, Any]) -> str:
    """What ReferencesResolved says."""
    found = condition(service, "ReferencesResolved")
    return str(found["message"]) if found else ""


@dataclass
class Rotation:
    """Rotates, and remembers by namespace which key was there before."""

    before: dict[str, str] = field(default_factory=dict)

    def rotate(self, services: AgentServices) -> None:
        """Ask for another key."""
        self.before[services.namespace] = keys(services)["default"]
        services.apply(**rotated(2))

    def look(self, services: AgentServices) -> None:
        """The key before is the one that was there before: there was one rotation, and not two."""
        found = keys(services)
        assert found.keys() == {"default", "default.previous"}
        assert found["default.previous"] == self.before[services.namespace]
        assert found["default"] != found["default.previous"]


@pytest.mark.long
async def test_siv_1_a_rotation_that_fails_anywhere_keeps_the_valid_key_and_happens_once(
    cluster: Cluster, crd: None, tmp_path: Path
) -> None:
    del crd
    rotation = Rotation()
    steps = (
        Step("create it", lambda services: services.apply()),
        Step("rotate its key", rotation.rotate),
        Step("look at the keys", rotation.look),
    )
    harmless, deadly = [fault for fault in ON_WRITES if fault != REFUSED], list(CRASHES)
    async with lane(cluster, tmp_path, lives=2 + len(harmless) + len(deadly)) as one:
        recording = await record_twice(one, steps)
        (at,) = (name for name in recording.writes if name.startswith("patch secrets/"))
        outcomes = []
        for faults in (harmless, deadly):
            outcomes.append(Outcome())
            chosen = [Case("rotation", fault, at) for fault in faults]
            await run(one, chosen, {"rotation": recording}, outcomes[-1])

    for outcome in outcomes:
        assert (outcome.failed, outcome.ended, outcome.never_came) == ({}, [], [])
    assert [len(outcome.passed) for outcome in outcomes] == [len(harmless), len(deadly)]
