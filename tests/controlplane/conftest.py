"""The control-plane tier: a real API server with its controllers, shared by all workers of the test session."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dev.process import ChildDiedError, DeadlineError
from dev.shared_plane import shared_control_plane
from tests.controlplane.agent_services import AgentServices, install_definitions
from tests.controlplane.operator_process import OperatorProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dev.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The session's control plane; CI must have one, elsewhere the tier is left out where none can be had."""
    session = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        session = session.parent  # each worker has its own folder in that of the session
    try:
        with shared_control_plane(session / "controlplane") as shared:
            yield shared
    except (ChildDiedError, DeadlineError) as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no control plane on this machine: {str(error).splitlines()[-1]}")


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a fresh namespace, deleted after the test."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = f"{slug}-{secrets.token_hex(4)}"
    cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    cluster.api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def crd(cluster: Cluster) -> None:
    """The project's CustomResourceDefinitions, established."""
    install_definitions(cluster)


@pytest.fixture
def idle_operator(cluster: Cluster, crd: None, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator for the test's namespace that the test starts itself; it ends with the test."""
    del crd
    process = OperatorProcess(cluster, namespace, tmp_path)
    try:
        yield process
    finally:
        process.close()


@pytest.fixture
def operator(idle_operator: OperatorProcess) -> OperatorProcess:
    """A running operator that leads in the test's namespace."""
    return idle_operator.start()


@pytest.fixture
def services(cluster: Cluster, crd: None, namespace: str) -> AgentServices:
    """The AgentServices of the test's namespace."""
    del crd
    return AgentServices(cluster, namespace)
