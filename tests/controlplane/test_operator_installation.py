"""A cluster-wide operator on a plane of its own: started before its definition, at work in every namespace."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

import pytest

from dev.controlplane import control_plane
from tests.controlplane.agent_services import AgentServices, install_definitions
from tests.controlplane.operator_process import START_DEADLINE, OperatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dev.cluster import Cluster


@pytest.fixture
def bare(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """A control plane that has never heard of AgentServices."""
    del cluster  # where that one can't be had, this one can't either
    with control_plane(tmp_path / "bare") as plane:
        yield plane


def test_an_operator_waits_for_its_definition_and_then_serves_every_namespace(bare: Cluster, tmp_path: Path) -> None:
    for name in ("system", "team-a", "team-b"):
        bare.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    operator = OperatorProcess(bare, None, "system", (), tmp_path)
    try:
        operator.spawn()
        operator.wait_for(lambda: operator.probe("/healthz") == http.client.OK, "it to be alive", START_DEADLINE)
        operator.wait_for(
            lambda: "CustomResourceDefinition is not installed" in operator.child.log.read_text(),
            "it to say what it waits for",
            START_DEADLINE,
        )
        assert operator.probe("/readyz") == http.client.SERVICE_UNAVAILABLE

        install_definitions(bare)
        operator.wait_for(lambda: operator.probe("/readyz") == http.client.OK, "it to be ready", START_DEADLINE)

        for name in ("team-a", "team-b"):
            AgentServices(bare, name).apply()
        for name in ("team-a", "team-b"):
            AgentServices(bare, name).wait_ready()
        refused = [r for r in operator.requests() if r.code == http.client.FORBIDDEN]
        assert refused == []
    finally:
        operator.close()
