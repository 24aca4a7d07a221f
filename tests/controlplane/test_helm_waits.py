"""Helm 4 waits for an AgentService as for any other object: by kstatus, with nothing told about the kind.

So do Flux and ``kubectl wait`` of kpt: what is tested here is that the conditions mean to others what we mean by them.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev import toolchain
from dev.kwok_stages import PREFIX
from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, Object, agent_service, conditions, is_ready
from tests.controlplane.operator_process import OperatorProcess, delete_namespace, make_namespace

MODELS = [
    {
        "name": "main",
        "provider": "Anthropic",
        "anthropic": {"model": "claude-fake", "credentials": {"secretKeyRef": {"name": "provider", "key": "api-key"}}},
    }
]
WAITS_FOR = "120s"
"""Longer than anything here takes: who fails sooner has been told to."""


@pytest.fixture
def helm() -> Path:
    """Helm 4."""
    return toolchain.ensure("helm4")["helm4"]


@contextmanager
def installing(
    helm: Path, services: AgentServices, folder: Path, *, timeout: str = WAITS_FOR, **spec: Any
) -> Iterator[subprocess.Popen[str]]:
    """Let Helm install a chart with one AgentService in it, and wait."""
    (folder / "templates").mkdir()
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: agent\nversion: 0.1.0\n")
    (folder / "templates" / "agent.yaml").write_text(yaml.safe_dump(agent_service(services.namespace, **spec)))
    command: list[str | Path] = [
        helm,
        "install",
        "agent",
        folder,
        "--namespace",
        services.namespace,
        "--wait",
        "--timeout",
        timeout,
    ]
    environment = os.environ | {
        "KUBECONFIG": str(services.cluster.kubeconfig),
        "HELM_CACHE_HOME": str(folder / "cache"),
    }
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            wait_until(lambda: services.cluster.api.find(services.path("AgentService")), deadline=DEADLINE)
            yield process
        finally:
            process.kill()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what it said."""
    said, _ = process.communicate(timeout=180)
    return process.returncode, said


def slowly() -> Object:
    return {"podAnnotations": {f"{PREFIX}/ready-after": "3s"}}


def test_api_2_helm_is_done_when_it_serves(
    operator: OperatorProcess, services: AgentServices, helm: Path, tmp_path: Path
) -> None:
    with installing(helm, services, tmp_path, runtime=slowly()) as process:
        code, said = ended(process)

    assert code == 0, said
    assert is_ready(services.get())
    assert operator.child.exit_code is None


def test_api_2_helm_waits_for_a_secret_that_comes_late(
    operator: OperatorProcess, services: AgentServices, helm: Path, tmp_path: Path
) -> None:
    with installing(helm, services, tmp_path, models=MODELS) as process:
        services.wait(lambda service: "ReferencesResolved" in conditions(service))
        operator.settle()
        assert process.poll() is None, process.communicate()[0]

        services.make_secret("provider", **{"api-key": "fake"})
        code, said = ended(process)

    assert code == 0, said
    assert is_ready(services.get())


def test_api_2_helm_gives_up_at_once_where_only_a_person_can_help(
    operator: OperatorProcess, services: AgentServices, helm: Path, tmp_path: Path
) -> None:
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hello", "namespace": services.namespace}}
    services.cluster.api.create({**foreign, "spec": {"ports": [{"port": 1}]}})

    with installing(helm, services, tmp_path) as process:
        code, said = ended(process)

    assert code != 0
    assert "A Service named hello exists and does not belong to this AgentService" in said
    assert "deadline" not in said
    assert operator.child.exit_code is None


def test_api_3_helm_does_not_take_one_for_ready_that_no_operator_has_seen(
    operator: OperatorProcess, services: AgentServices, helm: Path, tmp_path: Path
) -> None:
    unwatched = AgentServices(services.cluster, make_namespace(services.cluster, "unwatched"))

    with installing(helm, unwatched, tmp_path, timeout="5s") as process:
        code, said = ended(process)

    delete_namespace(services.cluster, unwatched.namespace)
    assert code != 0
    assert "deadline exceeded" in said
    assert operator.child.exit_code is None
