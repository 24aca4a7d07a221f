"""The end-to-end tier: real images, Helm, kubelet and traffic, in one cluster that all workers of a session share."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.cluster import Cluster
from dev.kind_session import Session, shared_session
from dev.metrics_server import install_metrics_server
from dev.process import ChildDiedError, DeadlineError
from dev.release import report
from tests.e2e import servers


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "smoke: the demo's path; `make test` runs these, `make test-e2e` all")
    config.addinivalue_line("markers", "alone: stops the operator, which all tests share, so none runs beside it")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the cluster looks like to the report of a failed test."""
    outcome = yield
    arguments: dict[str, Any] = getattr(item, "funcargs", {})
    if outcome.when == "call" and outcome.failed and "kind" in arguments:
        namespaces = [arguments["namespace"]] if "namespace" in arguments else []
        outcome.sections.append(("cluster", report(arguments["kind"], *namespaces)))
    return outcome


@pytest.fixture(autouse=True)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests that are marked `alone` apart from those that other workers of the session run."""
    alone = request.node.get_closest_marker("alone") is not None
    with (session_folder(tmp_path_factory) / "place.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of a session have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """What the session shares; CI as root must have it, elsewhere the tier says why it is left out."""
    try:
        with shared_session(session_folder(tmp_path_factory) / "kind") as shared:
            yield shared
    except (ChildDiedError, DeadlineError) as error:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            raise
        pytest.skip(f"no cluster with a kubelet on this machine: {str(error).splitlines()[-1]}")


@pytest.fixture(scope="session")
def kind(session: Session) -> Cluster:
    """A cluster with a real kubelet, in which the operator is installed and both images are."""
    return session.cluster


@pytest.fixture(scope="session")
def metrics_server(session: Session) -> None:
    """Real CPU and memory metrics."""
    if session.engine is None:
        pytest.skip("the cluster of E2E_CONTEXT is not ours to install metrics-server into")
    install_metrics_server(session.engine, session.cluster)


@pytest.fixture
def namespace(kind: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a fresh namespace that admits `restricted` pods only, deleted after the test."""
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:40].strip("-")
    name = f"{slug}-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    kind.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    kind.api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def postgresql(session: Session, namespace: str) -> Iterator[servers.Server]:
    """PostgreSQL in the namespace; key `url` of the Secret `database` is the address of an empty database."""
    with servers.postgresql(session, namespace) as server:
        yield server


@pytest.fixture
def redis(session: Session, namespace: str) -> servers.Server:
    """Redis in the namespace; key `url` of the Secret `redis` is its address."""
    return servers.redis(session, namespace)
