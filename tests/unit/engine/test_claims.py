"""What is special about the PersistentVolumeClaim."""

from __future__ import annotations

import pytest
from agentservice_operator.engine.claims import never_smaller, refused
from agentservice_operator.engine.ports import Forbidden, Object
from agentservice_operator.status.volume import VolumeFacts


def live(requested: str) -> VolumeFacts:
    return VolumeFacts("hello-data", "Bound", requested, requested, "fast", resizing=False)


def intent(storage: str) -> Object:
    return {"kind": "PersistentVolumeClaim", "spec": {"resources": {"requests": {"storage": storage}}}}


@pytest.mark.parametrize(
    ("wanted", "requested", "kept"),
    [("1Gi", "1Gi", "1Gi"), ("2Gi", "1Gi", "2Gi"), ("1Gi", "2Gi", "2Gi"), ("1G", "1Gi", "1Gi"), ("1Gi", "", "1Gi")],
)
def test_a_claim_is_never_asked_to_shrink(wanted: str, requested: str, kept: str) -> None:
    given = intent(wanted)

    assert never_smaller(given, live(requested)) == intent(kept)
    assert given == intent(wanted)


def test_a_refusal_names_the_claim_what_it_stays_and_the_remedy() -> None:
    problem = refused(live("1Gi"), Forbidden("apply: 403 must support resize\n  a long difference"))

    assert problem.terminal
    assert problem.message == (
        "PersistentVolumeClaim hello-data stays as it is, 1Gi of storage class fast: apply: 403 must support resize."
        " Let its StorageClass allow expansion, or set spec.state.volume to what the claim is."
    )
