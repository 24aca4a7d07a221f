"""An AgentService goes with all its children, with or without the operator, and may come back under the same name."""

from __future__ import annotations

import pytest

from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import AUTOSCALED, COLLECTION_DEADLINE, EVERY_CHILD, AgentServices, identity
from tests.controlplane.operator_process import OperatorProcess

HOLD = "pods.example.com/hold"


@pytest.mark.parametrize("running", [True, False], ids=["with the operator", "without the operator"])
def test_kpf_3_deleting_an_agent_service_takes_all_its_children_along(
    own_operator: OperatorProcess, own_services: AgentServices, *, running: bool
) -> None:
    operator, services = own_operator.start(), own_services
    services.apply(**EVERY_CHILD)
    services.wait_ready()
    if not running:
        operator.stop()
    before = operator.audit.mark()

    services.delete()

    services.wait_gone(deadline=5)
    wait_until(
        lambda: not services.children() and not services.pods(),
        deadline=COLLECTION_DEADLINE,
        describe=lambda: [identity(child) for child in services.children()],
    )
    assert [write for write in operator.writes(since=before) if write.verb == "create"] == []


@pytest.mark.parametrize("held", ["Deployment", "Secret", "Service"])
def test_siv_8_a_namesake_waits_for_the_end_of_the_old_children(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices, held: str
) -> None:
    services.apply(**EVERY_CHILD)
    services.wait_ready()
    old = {child["metadata"]["uid"] for child in services.children()}
    path = cluster.api.path_of(services.child(held))
    cluster.api.patch(path, {"metadata": {"finalizers": [HOLD]}})

    services.delete()
    services.wait_gone()
    reborn = services.apply(**EVERY_CHILD)
    waiting = services.wait_not_ready("WaitingForDeletion")
    assert {c["type"] for c in waiting["status"]["conditions"]} >= {"Reconciling"}
    cluster.api.patch(path, {"metadata": {"finalizers": None}})

    services.wait_ready(deadline=COLLECTION_DEADLINE)
    children = services.children()
    assert sorted(child["kind"] for child in children) == sorted(AUTOSCALED)
    assert not old & {child["metadata"]["uid"] for child in children}
    assert {c["metadata"]["ownerReferences"][0]["uid"] for c in children} == {reborn["metadata"]["uid"]}
    assert operator.child.exit_code is None


def test_siv_8_a_namesake_made_at_once_gets_children_of_its_own(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply(replicas=2)
    services.wait_ready()

    for _ in range(3):
        old = {child["metadata"]["uid"] for child in services.children()}
        services.delete()
        reborn = services.apply(replicas=2)
        services.wait_ready()

        children = services.children()
        assert not old & {child["metadata"]["uid"] for child in children}
        assert {c["metadata"]["ownerReferences"][0]["uid"] for c in children} == {reborn["metadata"]["uid"]}
    assert operator.child.exit_code is None
