"""A moment of the long churn (SIV-10); `make churn` goes on for an hour."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev.cluster import Cluster
from tests.controlplane.churn import batch, churning

WALKS = 4
SEED = "always"
DEATH_EVERY = (3.0, 5.0)


@pytest.mark.long
def test_siv_10_walks_end_the_same_while_operators_die_and_after_the_api_server_did(
    cluster: Cluster, tmp_path: Path
) -> None:
    del cluster  # where that one can't be had, one of our own can't either
    with churning(tmp_path, SEED) as churn:
        churn.restart_api_server()
        churn.walk(batch(SEED, 0, WALKS), death_every=DEATH_EVERY)

        assert churn.judge() == []
    assert churn.deaths > 0
    assert churn.report.edits >= 5 * WALKS
