"""The condition VolumeBound: what a PersistentVolumeClaim says, in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from agentservice_operator.status.compute import compute
from agentservice_operator.status.volume import VolumeFacts, volume_facts

from tests.unit.status.observations import condition, deployment, situation, spec, states

ON_VOLUME: dict[str, Any] = {"state": {"backend": "Volume", "volume": {"size": "1Gi"}}}


def claim(**status: Any) -> VolumeFacts:
    """What is known of a claim with this status."""
    requests = {"resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "fast"}
    return volume_facts({"metadata": {"name": "hello-data"}, "spec": requests, "status": status})


def bound(volume: VolumeFacts | None, **fields: Any) -> dict[str, Any]:
    """The condition."""
    return condition(compute(situation(deployment(), volume=volume, spec=spec(**fields))).status, "VolumeBound")


def test_a_bound_claim_is_told_with_its_size_and_class() -> None:
    told = bound(claim(phase="Bound", capacity={"storage": "2Gi"}), **ON_VOLUME)

    assert (told["status"], told["reason"]) == ("True", "Bound")
    assert told["message"] == "PersistentVolumeClaim hello-data is bound to 2Gi of storage class fast."


def test_a_claim_that_grows_says_to_what() -> None:
    resizing = {"type": "FileSystemResizePending", "status": "True"}

    told = bound(claim(phase="Bound", capacity={"storage": "1Gi"}, conditions=[resizing]), **ON_VOLUME)

    assert told["message"].endswith("is bound to 1Gi of storage class fast; it grows to 2Gi.")


@pytest.mark.parametrize("status", [{}, {"phase": "Pending"}])
def test_a_claim_without_a_volume_names_the_command_to_look(status: dict[str, Any]) -> None:
    told = bound(claim(**status), **ON_VOLUME)

    assert (told["status"], told["reason"]) == ("False", "VolumePending")
    assert told["message"].endswith("kubectl -n team-a describe persistentvolumeclaim hello-data")


def test_a_lost_volume_is_told_with_what_can_be_done() -> None:
    told = bound(claim(phase="Lost"), **ON_VOLUME)

    assert (told["status"], told["reason"]) == ("False", "VolumeLost")
    assert "Restore the volume" in told["message"]


def test_without_state_on_a_volume_nothing_is_said_of_a_claim_that_was_left() -> None:
    assert bound(claim(phase="Bound")) == {}
    assert bound(None, **ON_VOLUME) == {}


def test_state_on_a_volume_is_never_called_split() -> None:
    facts = deployment(3)  # somebody has just scaled it, which is not to last

    assert "StateShared" not in states(compute(situation(facts, spec=spec(**ON_VOLUME))).status)
