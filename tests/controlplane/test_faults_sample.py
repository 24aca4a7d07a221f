"""A sample of ``make campaign``: whatever fails once, nobody can tell it later from what came of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dev.cluster import Cluster
from tests.controlplane.fault_campaign import SCENARIOS, SLOW, Outcome, cases, run
from tests.controlplane.fault_lane import lane, record_twice

SEED = 1
SAMPLE = 10


@pytest.mark.long
async def test_siv_3_siv_4_siv_5_siv_6_a_change_ends_the_same_after_faults(
    cluster: Cluster, crd: None, tmp_path: Path
) -> None:
    del crd
    async with lane(cluster, tmp_path, lives=SAMPLE + 2) as one:
        recording = await record_twice(one, SCENARIOS["change"])
        quick = [case for case in cases("change", recording) if not case.crashes and not case.fault.startswith(SLOW)]
        chosen = random.Random(SEED).sample(sorted(quick, key=str), SAMPLE)  # noqa: S311 - chosen the same each time
        outcome = Outcome()

        await run(one, chosen, {"change": recording}, outcome)

    assert (outcome.failed, outcome.ended) == ({}, [])
    assert len(outcome.passed) >= SAMPLE / 2, outcome.never_came
