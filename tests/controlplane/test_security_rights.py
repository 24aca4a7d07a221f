"""SEC-8, SEC-9: what the operator may do is what it does, in a life with everything in it, and nothing elsewhere."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.audit import Request
from dev.cluster import Cluster
from dev.controlplane import control_plane
from dev.process import wait_until
from tests.controlplane.agent_services import (
    CHILDREN,
    DEADLINE,
    EVERY_CHILD,
    AgentServices,
    Object,
    identity,
    install_definitions,
    install_optional_definitions,
)
from tests.controlplane.operator_process import OperatorProcess, make_namespace, said
from tests.controlplane.operator_rbac import RELEASE
from tests.controlplane.test_operator_pod_events import UNHEALTHY, pods_that, tell
from tests.controlplane.test_operator_workers import WORKERS, make_secrets, wanting

Right = tuple[str, str, str]
"""Verb, group, and resource with its subresource."""
NOTICED = 90.0
"""Seconds until the operator has seen that a kind came: it asks every half minute."""
FEWEST: Object = {
    "replicas": 1,
    "requestTimeoutSeconds": 60,
    "networkPolicy": {"mode": "Disabled"},
    "observability": {"podMonitor": {"mode": "Never"}, "prometheusRule": {"mode": "Never"}},
    "runtime": {"serviceAccount": {"name": "default"}, "revisionHistoryLimit": 0},
}
"""A spec with another configuration, with which every child goes that may go, and the earlier configuration."""
STAYING = {"Secret", "ConfigMap", "Deployment", "Service"}


@pytest.fixture(scope="module")
def plane(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A control plane whose kinds are its own: those of other projects come while the first operator runs."""
    del cluster  # where that one can't be had, this one can't either
    with control_plane(tmp_path_factory.mktemp("rights")) as bare:
        install_definitions(bare)
        yield bare


@pytest.mark.long
@pytest.mark.parametrize("narrow", [False, True], ids=["clusterwide", "namespaced"])
def test_sec_8_sec_9_every_right_is_used_and_none_is_missed(plane: Cluster, tmp_path: Path, *, narrow: bool) -> None:
    home, namespace, elsewhere = (make_namespace(plane, purpose) for purpose in ("home", "team", "elsewhere"))
    operator = OperatorProcess(plane, None, home, (namespace,) if narrow else (), tmp_path)
    others = AgentServices(plane, elsewhere)
    left_alone = others.apply() if narrow else {}
    try:
        operator.start()
        live(operator, AgentServices(plane, namespace))
        operator.settle()
    finally:
        operator.close()
    asked = [request for request in operator.requests() if request.resource]
    used = {right for request in asked for right in rights_of(request)}

    assert said([request for request in asked if request.code == http.client.FORBIDDEN]) == []
    assert sorted(used ^ granted(plane, home, namespace if narrow else None)) == []
    if narrow:
        assert {request.namespace for request in asked} == {home, namespace}
        assert {request.resource for request in asked if request.namespace == home} == {"leases"}
        assert others.get() == left_alone
        assert others.children() == []


def live(operator: OperatorProcess, services: AgentServices) -> None:
    """Whatever becomes of AgentServices."""
    services.apply()
    services.wait_ready()
    install_optional_definitions(services.cluster)
    services.apply(**EVERY_CHILD)
    wait_kinds(operator, services, set(CHILDREN) - {"PersistentVolumeClaim"})
    for _ in range(2):  # to tell of the same thing twice is a patch
        take_a_label_away(operator, services)
    services.apply(**EVERY_CHILD, access={"apiKeys": {"rotation": 2}})
    services.wait_ready()
    services.apply("stored", state={"backend": "Volume", "volume": {"size": "1Gi"}})
    wait_until(
        lambda: services.cluster.api.find(services.path("PersistentVolumeClaim", "stored-data")),
        deadline=DEADLINE,
        describe=operator.child.log_tail,
    )
    have_workers_for_a_while(operator, services)
    strays = [copied(services, kind) for kind in ("Deployment", "Service")]
    services.apply(**FEWEST, access={"apiKeys": {"rotation": 2}})
    wait_kinds(operator, services, STAYING)
    wait_until(
        lambda: not any(services.cluster.api.find(stray) for stray in strays),
        deadline=DEADLINE,
        describe=operator.child.log_tail,
    )
    services.apply("unwell", runtime=pods_that(pod="NotReady"))
    unwell = wait_until(lambda: services.pods("unwell"), deadline=DEADLINE, describe=services.describe)
    tell(services, unwell[0], "Unhealthy", UNHEALTHY)
    services.wait_not_ready("ProbeFailed", "unwell")


def have_workers_for_a_while(operator: OperatorProcess, services: AgentServices) -> None:
    """Give the AgentService workers, and take them away again."""

    def wait_children(expected: set[str]) -> None:
        wait_until(
            lambda: WORKERS & {identity(item) for item in services.children()} == expected,
            deadline=NOTICED,
            describe=operator.child.log_tail,
        )

    make_secrets(services)
    services.apply(**EVERY_CHILD, **wanting(2), access={"apiKeys": {"rotation": 2}})
    wait_children(WORKERS)
    services.wait_ready()
    services.apply(**EVERY_CHILD, **wanting(0), access={"apiKeys": {"rotation": 2}})
    wait_children(set())


def wait_kinds(operator: OperatorProcess, services: AgentServices, kinds: set[str]) -> None:
    """Wait until the AgentService has children of exactly these kinds, and one ConfigMap only."""

    def found() -> list[str]:
        return sorted(item["kind"] for item in services.children())

    wait_until(
        lambda: found() == sorted(kinds), deadline=NOTICED, describe=lambda: f"{found()}\n{operator.child.log_tail()}"
    )


def take_a_label_away(operator: OperatorProcess, services: AgentServices) -> None:
    """Damage a child, and wait until it is as it was."""
    path = services.path("Service")
    label = "app.kubernetes.io/name"
    services.cluster.api.patch(path, {"metadata": {"labels": {label: None}}})
    wait_until(
        lambda: label in services.cluster.api.get(path)["metadata"]["labels"],
        deadline=DEADLINE,
        describe=operator.child.log_tail,
    )


def copied(services: AgentServices, kind: str) -> str:
    """A child's copy under another name, as an operator of another release may have called it; returns its path."""
    child = services.child(kind)
    metadata = {key: child["metadata"][key] for key in ("namespace", "labels", "ownerReferences")}
    spec: dict[str, Any] = {**child["spec"]}
    for assigned in ("clusterIP", "clusterIPs"):
        spec.pop(assigned, None)
    body = {**child, "metadata": {**metadata, "name": "earlier"}, "spec": spec}
    body.pop("status", None)
    return services.cluster.api.path_of(services.cluster.api.create(body))


def rights_of(request: Request) -> Iterator[Right]:
    """What it takes to be let through."""
    resource = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
    yield request.verb, request.group, resource
    if request.verb == "patch" and request.code == http.client.CREATED:
        yield "create", request.group, resource  # a server-side apply to what is not there needs both


def granted(cluster: Cluster, home: str, namespace: str | None) -> set[Right]:
    """The rights of the operator's roles."""
    base = "/apis/rbac.authorization.k8s.io/v1"
    own = f"{base}/namespaces/{namespace}/roles/{RELEASE}" if namespace else f"{base}/clusterroles/{RELEASE}"
    roles = [cluster.api.get(path) for path in (own, f"{base}/namespaces/{home}/roles/{RELEASE}-lease")]
    return {
        (verb, group, resource)
        for role in roles
        for rule in role["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
