"""An event that never comes misleads nobody."""

from __future__ import annotations

from pathlib import Path

from dev.cluster import Cluster
from tests.controlplane.fault_campaign import CREATE, DELETE
from tests.controlplane.fault_lane import lane
from tests.controlplane.faults import Drop


async def test_siv_2_children_do_not_come_back_as_ghosts_where_the_deletion_was_not_heard_of(
    cluster: Cluster, crd: None, tmp_path: Path
) -> None:
    del crd
    async with lane(cluster, tmp_path, lives=2) as one:
        recording = await one.record((CREATE, DELETE))

        fault = Drop("DELETED agentservices/hello#1")
        namespace, journal = await one.live(recording, fault)

        await one.rest()
        assert fault.fired, journal.events
        await one.check(recording, namespace, journal)
