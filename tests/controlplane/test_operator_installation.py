"""An operator on a control plane of its own: started before its definition, cluster-wide, with a loose definition."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.api_client import ApiError, Object
from dev.cluster import Cluster
from dev.controlplane import control_plane
from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, agent_service, conditions, install_definitions
from tests.controlplane.operator_process import START_DEADLINE, OperatorProcess, delete_namespace, make_namespace


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


@pytest.mark.long
def test_a_namespace_without_a_role_keeps_nobody_from_the_others_and_joins_when_it_has_one(
    cluster: Cluster, crd: None, namespace: str, tmp_path: Path
) -> None:
    del crd
    late = make_namespace(cluster, "late")
    operator = OperatorProcess(cluster, namespace, namespace, (namespace, late), tmp_path)
    try:
        operator.start().stop()
        binding = cluster.kubectl("get", "rolebindings", f"--namespace={late}", "--output=yaml")
        cluster.kubectl("delete", "rolebindings", f"--namespace={late}", "--all")

        operator.start()
        AgentServices(cluster, namespace).apply()
        AgentServices(cluster, namespace).wait_ready()
        assert "namespace is left out" in operator.child.log.read_text()

        cluster.kubectl("apply", "--filename=-", input=binding)
        wait_until(lambda: operator.child.exit_code == 0, deadline=START_DEADLINE, describe=operator.log_here)

        operator.start()
        AgentServices(cluster, late).apply()
        AgentServices(cluster, late).wait_ready()
    finally:
        operator.close()
        delete_namespace(cluster, late)


def test_a_spec_that_slipped_past_the_api_server_is_stalled_until_it_is_mended(bare: Cluster, tmp_path: Path) -> None:
    install_definitions(bare)
    forget_rules(bare)
    bare.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-a"}})
    services = AgentServices(bare, "team-a")
    operator = OperatorProcess(bare, "team-a", "team-a", ("team-a",), tmp_path)
    try:
        operator.start()
        services.apply(replicas=3, autoscaling={"maxReplicas": 5})

        service = services.wait_not_ready("InvalidSpec")
        assert conditions(service) == {"Ready": ("False", "InvalidSpec"), "Stalled": ("True", "InvalidSpec")}
        assert "replicas and autoscaling exclude each other" in service["status"]["conditions"][0]["message"]
        assert services.children() == []

        services.apply(replicas=3)
        services.wait_ready()
    finally:
        operator.close()


def forget_rules(cluster: Cluster) -> None:
    """Let the API server take what a definition of another release may have let through."""
    path = cluster.api.path(
        "apiextensions.k8s.io/v1", "CustomResourceDefinition", name="agentservices.agentservice.dev"
    )
    place = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations"
    cluster.api.patch(path, [{"op": "remove", "path": place}], media="application/json-patch+json")
    body = agent_service("default", replicas=3, autoscaling={"maxReplicas": 5})
    wait_until(lambda: is_taken(cluster, body), deadline=DEADLINE, describe="the API server takes broken rules")


def is_taken(cluster: Cluster, body: Object) -> bool:
    try:
        cluster.api.create(body, dryRun="All")
    except ApiError:
        return False
    return True
