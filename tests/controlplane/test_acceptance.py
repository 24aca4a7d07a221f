"""What ``helm test`` does against a real API server."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from agentservice_operator import acceptance
from agentservice_operator.acceptance import NotAcceptedError, accept
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.transport import connect

from dev.cluster import Cluster
from dev.process import running, wait_until
from tests.controlplane.agent_services import AgentServices


@pytest.fixture
async def kubernetes(cluster: Cluster) -> AsyncIterator[KubeClient]:
    """A client for what the test does."""
    api_client = await connect(user_agent="test", kubeconfig=str(cluster.kubeconfig))
    yield KubeClient(api_client)
    await api_client.close()  # type: ignore[no-untyped-call] # the package is typed in part


async def test_an_installation_that_works_is_accepted_and_nothing_is_left_behind(
    kubernetes: KubeClient, services: AgentServices
) -> None:
    told: list[str] = []

    await accept(kubernetes, services.namespace, say=told.append)

    name = told[0].split()[0].partition("/")[2]
    assert told[-2:] == [f"agentservice/{name} is Ready", f"agentservice/{name} is gone"]
    assert services.cluster.api.list(services.path("AgentService", "")) == []


async def test_where_no_operator_works_the_test_fails_and_cleans_up(
    kubernetes: KubeClient, cluster: Cluster, crd: None, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del crd
    monkeypatch.setattr(acceptance, "READY_SECONDS", 1.5)
    told: list[str] = []

    with pytest.raises(NotAcceptedError, match=r"^agentservice/helm-test-\w+ is not Ready after 2 s: no condition yet"):
        await accept(kubernetes, namespace, say=told.append)

    find = partial(cluster.api.list, AgentServices(cluster, namespace).path("AgentService", ""))
    assert find() == []


def test_told_to_end_it_cleans_up_before(cluster: Cluster, crd: None, namespace: str, tmp_path: Path) -> None:
    del crd
    command = [sys.executable, "-m", "agentservice_operator.acceptance", namespace]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    find = partial(cluster.api.list, AgentServices(cluster, namespace).path("AgentService", ""))

    with running(command, name="helm test", log=tmp_path / "log", env=environment) as process:
        # Said after the answer to its creation: it waits for Ready now.
        wait_until(lambda: "no condition yet" in process.log_tail(), deadline=30, describe=process.log_tail)
        assert len(find()) == 1

        code = process.stop(grace=30)

    assert (code, find()) == (1, []), process.log_tail()
