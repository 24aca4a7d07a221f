"""The control-plane tier: a real API server with its controllers, shared by all workers of the test session."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.api_client import ApiClient
from dev.cluster import Cluster
from dev.process import ChildDiedError, DeadlineError
from dev.shared_plane import shared_control_plane
from tests.controlplane.agent_services import AgentServices, install_definitions, install_optional_definitions
from tests.controlplane.author import author_of
from tests.controlplane.operator_process import OperatorPool, OperatorProcess


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "long: takes half a minute or more, and begins before all others")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One that waits for minutes must not be the last to begin."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


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
    """The project's CustomResourceDefinitions and those of optional kinds, established."""
    install_definitions(cluster)
    install_optional_definitions(cluster)


@pytest.fixture(scope="session")
def operator_pool(cluster: Cluster, crd: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorPool]:
    """Lends operators to tests."""
    del crd
    pool = OperatorPool(cluster, tmp_path_factory.mktemp("operators"))
    try:
        yield pool
    finally:
        pool.close()


@pytest.fixture
def operator(operator_pool: OperatorPool) -> Iterator[OperatorProcess]:
    """A running operator, seen from a namespace that is the test's own; the test must not end it."""
    process = operator_pool.take()
    yield process
    print(process.log_here())  # noqa: T201 - pytest shows it where the test failed


@pytest.fixture
def services(operator: OperatorProcess) -> AgentServices:
    """The AgentServices of the namespace in which the test has its operator."""
    assert operator.namespace is not None
    return AgentServices(operator.cluster, operator.namespace)


@pytest.fixture
def own_operator(cluster: Cluster, crd: None, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator of the test's own, not started; it ends with the test."""
    del crd
    process = OperatorProcess(cluster, namespace, namespace, (namespace,), tmp_path)
    try:
        yield process
    finally:
        process.close()
        print(process.log_here())  # noqa: T201 - pytest shows it where the test failed


@pytest.fixture
def own_services(own_operator: OperatorProcess) -> AgentServices:
    """The AgentServices of the namespace in which the test has an operator of its own."""
    return AgentServices(own_operator.cluster, own_operator.home)


@pytest.fixture
def author(cluster: Cluster, crd: None, namespace: str) -> Iterator[ApiClient]:
    """The API as a person who may write AgentServices in the test's namespace, and nothing else."""
    del crd
    with author_of(cluster, namespace) as api:
        yield api
