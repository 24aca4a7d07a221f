"""An operator that dies after any of its writes leaves nothing that its successor does not put right."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.cluster import Cluster
from tests.controlplane.fault_campaign import CRASHES, SCENARIOS, Outcome, cases, run
from tests.controlplane.fault_lane import lane, record_twice

LIVES = 14
"""Two to record, and one for each write of a create."""


@pytest.mark.long
async def test_siv_1_a_create_ends_the_same_after_a_crash_at_any_write(
    cluster: Cluster, crd: None, tmp_path: Path
) -> None:
    """Before and after the answer in turn, side by side; ``make campaign`` tries both for each, one at a time."""
    del crd
    async with lane(cluster, tmp_path, lives=LIVES) as one:
        recording = await record_twice(one, SCENARIOS["create"])
        before, after = ([c for c in cases("create", recording) if c.fault == fault] for fault in CRASHES)
        chosen = [pair[number % 2] for number, pair in enumerate(zip(before, after, strict=True))]
        outcome = Outcome()

        await run(one, chosen, {"create": recording}, outcome)

    assert (outcome.failed, outcome.ended) == ({}, [])
    assert {case.at.split()[1].split("#")[0] for case in outcome.never_came} <= {"agentservices/hello/status"}
    assert len(outcome.passed) >= sum(recording.created.values())
