"""Kinds that come with other projects' CustomResourceDefinitions: used where they are, missed by nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from dev import definitions
from dev.cluster import Cluster
from dev.controlplane import control_plane
from dev.process import wait_until
from tests.controlplane.agent_services import (
    DEADLINE,
    AgentServices,
    Object,
    condition,
    conditions,
    install_definitions,
    install_optional_definitions,
)
from tests.controlplane.operator_process import OperatorProcess, make_namespace

MONITORS = ("PodMonitor", "PrometheusRule")
NOTICED = 60.0
"""Seconds until the operator has seen that a kind came: it asks every half minute."""
ROUTE = {"httpRoute": {"parentRefs": [{"name": "public"}], "hostnames": ["agents.example.com"]}}
ALWAYS = {"podMonitor": {"mode": "Always"}, "prometheusRule": {"mode": "Always"}}


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Cluster]:
    """A control plane of the test's own, as kinds come and go for a whole cluster; it has none of other projects."""
    with control_plane(tmp_path / "plane") as cluster:
        install_definitions(cluster)
        yield cluster


@pytest.fixture
def bare_operator(bare: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    """A running operator on the bare plane."""
    home = make_namespace(bare, "bare")
    process = OperatorProcess(bare, home, home, (), tmp_path)
    try:
        yield process.start()
    finally:
        process.close()
        print(process.log_here())  # noqa: T201 - pytest shows it where the test failed


def monitors(services: AgentServices, name: str = "hello") -> list[Object]:
    """The PodMonitor and the PrometheusRule of an AgentService, as far as they are there."""
    paths = [services.path(kind, name) for kind in MONITORS]
    return [found for path in paths if (found := services.cluster.api.find(path)) is not None]


def wait_monitors(services: AgentServices, operator: OperatorProcess) -> None:
    wait_until(lambda: len(monitors(services)) == len(MONITORS), deadline=NOTICED, describe=operator.child.log_tail)


def ready_since(service: Object) -> str:
    """Since when it has been Ready without a pause."""
    ready = condition(service, "Ready")
    assert ready is not None
    assert ready["status"] == "True"
    return str(ready["lastTransitionTime"])


def remove_optional_definitions(cluster: Cluster) -> None:
    """Delete the definitions, and with them every object, and wait until the API server has done so."""
    paths = [cluster.api.path_of(yaml.safe_load(file.read_text())) for file in definitions.ensure()]
    for path in paths:
        cluster.api.delete(path)
    wait_until(
        lambda: not any(cluster.api.find(path) for path in paths),
        deadline=DEADLINE,
        describe=lambda: [found["status"] for path in paths if (found := cluster.api.find(path))],
    )


@pytest.mark.long
def test_kinds_that_come_later_are_taken_up_without_an_edit_also_by_the_standby(
    bare: Cluster, bare_operator: OperatorProcess
) -> None:
    operator, services = bare_operator, AgentServices(bare, bare_operator.home)
    standby = operator.replica("standby")
    try:
        standby.start(leading=False)
        services.apply(observability=ALWAYS, exposure=ROUTE)
        lacking = services.wait_ready()
        assert conditions(lacking)["MonitoringAvailable"] == ("False", "KindNotAvailable")
        assert conditions(lacking)["RouteAccepted"] == ("False", "KindNotAvailable")
        assert "url" not in lacking["status"]

        install_optional_definitions(bare)

        wait_monitors(services, operator)
        services.wait(lambda service: "MonitoringAvailable" not in conditions(service))
        routed = services.wait(lambda service: conditions(service)["RouteAccepted"] == ("Unknown", "GatewayPending"))
        assert services.child("HTTPRoute")
        assert routed["status"]["url"] == "https://agents.example.com"
        operator.stop()
        standby.wait_for(lambda: standby.leads, "it to lead", DEADLINE)
        bare.api.delete(services.path("PodMonitor"))
        wait_monitors(services, standby)
    finally:
        standby.close()


@pytest.mark.long
def test_agents_serve_on_when_a_kind_goes_and_get_its_objects_back_with_it(
    bare: Cluster, bare_operator: OperatorProcess
) -> None:
    operator, services = bare_operator, AgentServices(bare, bare_operator.home)
    install_optional_definitions(bare)
    services.apply()
    wait_monitors(services, operator)
    since = ready_since(services.wait_ready())

    remove_optional_definitions(bare)

    services.patch({"spec": {"replicas": 2}})
    edited = services.wait(lambda service: service["status"].get("readyReplicas") == 2)
    assert ready_since(edited) == since
    services.apply("other")
    services.wait_ready("other")
    services.delete("other")
    services.wait_gone("other")
    install_optional_definitions(bare)
    wait_monitors(services, operator)


@pytest.mark.long
def test_without_the_right_to_list_a_kind_the_operator_works_as_if_it_were_missing(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    operator, services = own_operator.start(), own_services
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{operator.home}/roles/agentservice-operator"
    rules = services.cluster.api.get(path)["rules"]
    without = [rule for rule in rules if rule["apiGroups"] != ["monitoring.coreos.com"]]
    services.cluster.api.patch(path, {"rules": without})

    operator.restart()

    services.apply()
    services.wait_ready()
    assert monitors(services) == []
    services.cluster.api.patch(path, {"rules": rules})
    wait_monitors(services, operator)
