"""Of several replicas one writes; the next takes over however that one ends, and a frozen one never comes back."""

from __future__ import annotations

import signal

import pytest

from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, condition
from tests.controlplane.operator_process import OperatorProcess, delete_namespace, make_namespace, said


def test_kpf_10_the_standby_takes_over_at_once_from_a_leader_that_is_told_to_end(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    operator, services = own_operator.start(), own_services
    standby = operator.replica("standby")
    try:
        standby.start(leading=False)
        services.apply()
        services.wait_ready()
        assert (operator.leads, standby.leads) == (True, False)

        assert operator.stop() == 0

        standby.wait_for(lambda: standby.leads, "it to lead", 10)  # five are promised, the rest is for a busy machine
        services.patch({"spec": {"replicas": 2}})
        services.wait(lambda service: service["status"]["readyReplicas"] == 2)
    finally:
        standby.close()


@pytest.mark.long
def test_kpf_10_the_standby_takes_over_from_a_leader_that_crashed(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    operator, services = own_operator.start(), own_services
    standby = operator.replica("standby")
    try:
        standby.start(leading=False)
        services.apply()
        services.wait_ready()
        standby.settle()
        before = operator.audit.mark()

        operator.kill()
        services.patch({"spec": {"replicas": 2}})

        standby.wait_for_lead()
        services.wait(lambda service: service["status"]["readyReplicas"] == 2)
        assert [write for write in standby.writes(since=before) if write.resource == "deployments"]
    finally:
        standby.close()


@pytest.mark.long
def test_siv_9_a_leader_that_was_frozen_writes_nothing_when_it_wakes(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    operator, services = own_operator.start(), own_services
    standby = operator.replica("standby")
    try:
        standby.start(leading=False)
        services.apply()
        services.wait_ready()
        standby.settle()

        operator.child.process.send_signal(signal.SIGSTOP)
        services.patch({"spec": {"replicas": 2}})  # work that waits for the frozen one too
        standby.wait_for_lead()
        services.wait(lambda service: service["status"]["readyReplicas"] == 2)
        services.patch({"spec": {"agents": [{"name": "assistant", "systemPrompt": "Another."}]}})
        services.wait_ready()
        standby.settle()
        before = standby.audit.mark()
        operator.child.process.send_signal(signal.SIGCONT)

        code = wait_until(lambda: operator.child.exit_code, deadline=DEADLINE, describe=operator.child.log_tail)
        assert code == 1
        standby.settle()
        assert said(standby.writes(since=before)) == []
        assert standby.leads
    finally:
        standby.close()


def test_an_operator_of_some_namespaces_leaves_the_others_alone(
    cluster: Cluster, own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    before = own_operator.audit.mark()
    operator, services = own_operator.start(), own_services
    elsewhere = make_namespace(cluster, "elsewhere")
    try:
        other = AgentServices(cluster, elsewhere)
        other.apply()
        services.apply()

        services.wait_ready()

        operator.settle()
        assert condition(other.get(), "Ready") is None
        assert other.children() == []
        everything = operator.audit.requests(user=operator.user, since=before, until=operator.audit.mark())
        assert {r.namespace for r in everything if r.resource} == {services.namespace}
    finally:
        delete_namespace(cluster, elsewhere)
