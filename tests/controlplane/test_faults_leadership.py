"""Who has lost the lead writes nothing, not even to finish what it had begun."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest
from agentservice_operator.kube.lease import LeaseTimes

from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices
from tests.controlplane.fault_proxy import FaultProxy
from tests.controlplane.faults import Refuse
from tests.controlplane.operator_process import LEASE_EXPIRY, START_DEADLINE, OperatorProcess
from tests.controlplane.operator_rbac import LEASE


@pytest.mark.long
async def test_siv_9_a_leader_that_froze_between_two_writes_does_not_go_on_when_it_wakes(
    cluster: Cluster, crd: None, namespace: str, tmp_path: Path
) -> None:
    del crd
    services = AgentServices(cluster, namespace)
    async with FaultProxy(cluster) as proxy:
        leader = OperatorProcess(proxy.cluster(), namespace, namespace, (namespace,), tmp_path, "leader")
        standby = replace(leader, cluster=cluster, name="standby")  # does not go through the proxy
        try:
            await started(leader)
            await asyncio.to_thread(leader.wait_for, lambda: leader.leads, "it to lead", LEASE_EXPIRY)
            await started(standby)
            # Told to wait, it repeats a write with its first step after the sleep, before it can learn anything.
            fault = Refuse("apply configmaps/hello-config#1", 429, "TooManyRequests", {"Retry-After": "5"})
            journal = proxy.follow(namespace, fault)
            await asyncio.to_thread(services.apply)
            await asyncio.to_thread(wait_until, lambda: fault.fired, deadline=DEADLINE)

            leader.child.process.send_signal(signal.SIGSTOP)
            await asyncio.to_thread(standby.wait_for_lead)
            await asyncio.to_thread(services.wait_ready)
            before = journal.told()
            leader.child.process.send_signal(signal.SIGCONT)

            code = await asyncio.to_thread(
                wait_until, lambda: leader.child.exit_code, deadline=DEADLINE, describe=leader.child.log_tail
            )
            assert code == 1
            assert journal.told() == before
            assert standby.leads
        finally:
            leader.close()
            standby.close()


async def test_siv_9_a_leader_that_wakes_before_another_leads_does_not_write_on_an_old_lease(
    cluster: Cluster, crd: None, namespace: str, tmp_path: Path
) -> None:
    del crd
    services = AgentServices(cluster, namespace)
    async with FaultProxy(cluster) as proxy:
        leader = OperatorProcess(proxy.cluster(), namespace, namespace, (namespace,), tmp_path, "leader")
        try:
            await started(leader)
            await asyncio.to_thread(leader.wait_for, lambda: leader.leads, "it to lead", LEASE_EXPIRY)
            fault = Refuse("apply configmaps/hello-config#1", 429, "TooManyRequests", {"Retry-After": "5"})
            journal = proxy.follow(namespace, fault)
            await asyncio.to_thread(services.apply)
            beside = {"serviceaccounts", "secrets"}  # written at the same time: on their way when the fault comes
            await asyncio.to_thread(
                wait_until, lambda: fault.fired and beside <= set(journal.created), deadline=DEADLINE
            )

            leader.child.process.send_signal(signal.SIGSTOP)
            before = journal.told()
            # Old enough not to be trusted, and so young that the connections of the frozen one are still of use: what
            # it repeats could leave with its first step.
            trusted = LeaseTimes().renew_deadline
            await asyncio.to_thread(wait_until, lambda: lease_age(services) > trusted + 0.5, deadline=LEASE_EXPIRY)
            leader.child.process.send_signal(signal.SIGCONT)

            code = await asyncio.to_thread(
                wait_until, lambda: leader.child.exit_code, deadline=DEADLINE, describe=leader.child.log_tail
            )
            assert code == 1
            assert journal.told() == before
        finally:
            leader.close()


def lease_age(services: AgentServices) -> float:
    """Seconds since the Lease was renewed."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{services.namespace}/leases/{LEASE}"
    renewed = datetime.fromisoformat(services.cluster.api.get(path)["spec"]["renewTime"])
    return (datetime.now(UTC) - renewed).total_seconds()


async def started(operator: OperatorProcess) -> None:
    """Start it and wait until it is ready, while the proxy in this process goes on."""
    operator.spawn()
    await asyncio.to_thread(
        operator.wait_for, lambda: operator.probe("/readyz") == HTTPStatus.OK, "it to be ready", START_DEADLINE
    )
