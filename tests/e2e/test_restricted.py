"""Agents and operator run where only `restricted` pods are admitted."""

from __future__ import annotations

import pytest

from dev.api_client import ApiError
from dev.cluster import Cluster
from dev.release import NAMESPACE
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import SMALL, wait_ready


def test_agents_run_in_a_restricted_namespace(kind: Cluster, namespace: str) -> None:
    careless = {"containers": [{"name": "main", "image": "example.invalid/any"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "careless", "namespace": namespace}}
    with pytest.raises(ApiError, match=r"violates PodSecurity .*restricted"):
        kind.api.create({**pod, "spec": careless}, dryRun="All")

    AgentServices(kind, namespace).apply(runtime=SMALL)

    wait_ready(kind, namespace, "hello")


def test_the_operator_could_run_in_a_restricted_namespace(kind: Cluster) -> None:
    label = ["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted", "--overwrite"]

    # The API server looks at the pods that are there and warns of each that it would refuse.
    kind.kubectl(*label, "--dry-run=server", "--warnings-as-errors")
