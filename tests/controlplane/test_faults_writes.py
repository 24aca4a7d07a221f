"""An operator that dies after any of its writes leaves nothing that its successor does not put right."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.cluster import Cluster
from tests.controlplane.fault_campaign import CRASHES, SCENARIOS, Outcome, cases, run
from tests.controlplane.fault_lane import lane, record_twice

LIVES = 14
"""Two to record, and one for each write of a create."""


@pytest.mark.parametrize("fault", CRASHES)
async def test_siv_1_a_create_ends_the_same_after_a(fault: str, cluster: Cluster, crd: None, tmp_path: Path) -> None:
    del crd
    async with lane(cluster, tmp_path, lives=LIVES) as one:
        recording = await record_twice(one, SCENARIOS["create"])
        chosen = [case for case in cases("create", recording) if case.fault == fault]
        outcome = Outcome()

        await run(one, chosen, {"create": recording}, outcome)

    assert (outcome.failed, outcome.ended) == ({}, [])
    assert {case.at.split()[1].split("#")[0] for case in outcome.never_came} <= {"agentservices/hello/status"}
    assert len(outcome.passed) >= sum(recording.created.values())
