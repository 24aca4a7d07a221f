"""Leader election on a real API server, with times shortened in proportion."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agentservice_operator.engine.ports import NotLeader, Object
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.lease import LEASE, LeaderElector, LeaseTimes
from agentservice_operator.kube.transport import Request

from dev.cluster import Cluster
from tests.controlplane.connected import connected
from tests.unit.kube.eventually import eventually

TIMES = LeaseTimes(duration=3.0, renew_deadline=2.0, retry_period=0.4)
"""A fifth of the real ones: takeover within 20 s becomes 4 s, within 5 s becomes 1 s."""
TAKEOVER_AFTER_KILL = 4.0
TAKEOVER_AFTER_RELEASE = 1.0


class Candidate:
    """One process that would lead."""

    def __init__(self, client: KubeClient, namespace: str, identity: str, **options: Any) -> None:
        self.elector = LeaderElector(client, namespace, "operator", identity, times=TIMES, **options)
        self.started = 0
        self.lost = 0
        self.task = asyncio.create_task(self.elector.run(self._start, self._lose))

    def _start(self) -> None:
        self.started += 1

    def _lose(self) -> None:
        self.lost += 1

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])

    async def leads(self, within: float = 10.0) -> float:
        """Wait until it leads; return the seconds that took."""
        began = time.monotonic()
        await eventually(lambda: self.elector.is_leader, lambda: self.task, within=within)
        return time.monotonic() - began


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with connected(cluster.kubeconfig) as client:
        yield client


@asynccontextmanager
async def candidates(client: KubeClient, namespace: str) -> AsyncIterator[Callable[..., Candidate]]:
    running: list[Candidate] = []

    def start(identity: str, **options: Any) -> Candidate:
        running.append(Candidate(options.pop("client", client), namespace, identity, **options))
        return running[-1]

    try:
        yield start
    finally:
        for candidate in running:
            await candidate.stop()


def lease(cluster: Cluster, namespace: str) -> Object:
    return cluster.api.get(LEASE.path(namespace, "operator"))


async def test_one_of_two_leads(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    async with candidates(client, namespace) as start:
        pair = [start("a"), start("b")]
        await eventually(lambda: any(each.started for each in pair), lambda: pair)
        await asyncio.sleep(0)

        assert sum(each.elector.is_leader for each in pair) == 1
        leader, other = sorted(pair, key=lambda each: not each.elector.is_leader)
        leader.elector.check()
        with pytest.raises(NotLeader, match=f"{other.elector.identity} does not hold Lease {namespace}/operator"):
            other.elector.check()
        assert lease(cluster, namespace)["spec"]["holderIdentity"] == leader.elector.identity


async def test_leader_renews_for_longer_than_the_lease_lasts(
    client: KubeClient, cluster: Cluster, namespace: str
) -> None:
    async with candidates(client, namespace) as start:
        leader = start("a")
        await leader.leads()
        other = start("b")
        began = lease(cluster, namespace)["spec"]["renewTime"]
        until = time.monotonic() + 1.5 * TIMES.duration
        await eventually(lambda: time.monotonic() > until or not leader.elector.is_leader, lambda: leader.task)

        leader.elector.check()
        assert not other.started
        spec = lease(cluster, namespace)["spec"]
        assert spec["renewTime"] > began
        assert spec["leaseTransitions"] == 0


async def test_release_hands_over_soon(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    async with candidates(client, namespace) as start:
        leader = start("a")
        await leader.leads()
        other = start("b")

        await leader.stop()

        with pytest.raises(NotLeader):
            leader.elector.check()
        assert await other.leads() <= TAKEOVER_AFTER_RELEASE
        assert not leader.lost
        assert lease(cluster, namespace)["spec"]["leaseTransitions"] == 1


async def test_one_that_is_told_to_end_before_it_knows_that_it_leads_holds_up_nobody(
    client: KubeClient, cluster: Cluster, namespace: str
) -> None:
    unanswered = Unanswered(client)
    async with candidates(client, namespace) as start:
        leader = start("a", client=unanswered)
        await eventually(unanswered.claimed.is_set, lambda: leader.task)
        assert lease(cluster, namespace)["spec"]["holderIdentity"] == leader.elector.identity

        await leader.stop()

        assert not lease(cluster, namespace)["spec"]["holderIdentity"]
        assert await start("b").leads() <= TAKEOVER_AFTER_RELEASE


class Unanswered:
    """A client whose first write reaches the server; the answer never comes."""

    def __init__(self, client: KubeClient) -> None:
        self.claimed = asyncio.Event()
        self.transport = self
        self._real = client.transport

    async def send(self, request: Request, **options: Any) -> bytes:
        answer = await self._real.send(request, **options)
        if request.method != "GET" and not self.claimed.is_set():
            self.claimed.set()
            await asyncio.Event().wait()
        return answer


async def test_killed_leader_is_followed_when_its_lease_has_run_out(
    client: KubeClient, cluster: Cluster, namespace: str
) -> None:
    async with connected(cluster.kubeconfig) as doomed, candidates(client, namespace) as start:
        leader = start("a", client=doomed)
        await leader.leads()
        other = start("b")
        await cut_off(doomed)

        took = await other.leads()

        assert took <= TAKEOVER_AFTER_KILL
        with pytest.raises(NotLeader):
            leader.elector.check()


async def test_cut_off_leader_stops_writing_before_the_other_starts_and_reports_the_loss(
    client: KubeClient, cluster: Cluster, namespace: str
) -> None:
    async with connected(cluster.kubeconfig) as doomed, candidates(client, namespace) as start:
        leader = start("a", client=doomed)
        await leader.leads()
        other = start("b")
        await cut_off(doomed)

        await eventually(lambda: not leader.elector.is_leader, lambda: leader.task)

        assert not other.elector.is_leader
        await eventually(lambda: leader.lost == 1, lambda: leader.task)
        assert leader.task.done()


async def test_stopped_and_woken_leader_may_not_write(client: KubeClient, namespace: str) -> None:
    """A stopped process learns nothing, but its monotonic clock goes on: that is what the shifted clock stands for."""
    asleep = 0.0
    async with candidates(client, namespace) as start:
        leader = start("a", clock=lambda: time.monotonic() + asleep)
        await leader.leads()
        leader.elector.check()

        asleep = TIMES.renew_deadline

        with pytest.raises(NotLeader):
            leader.elector.check()


async def test_wall_clock_of_the_holder_does_not_matter(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    """A holder whose clock is years off, and which renews, keeps the lease; one that does not renew loses it."""
    spec = {"holderIdentity": "elsewhere", "leaseDurationSeconds": 3, "renewTime": "2001-01-01T00:00:00.000000Z"}
    body = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "operator", "namespace": namespace},
        "spec": spec,
    }
    cluster.api.create(body)
    async with candidates(client, namespace) as start:
        other = start("b")
        for second in range(1, 6):
            renewed = {"spec": {"renewTime": f"2001-01-01T00:00:0{second}.000000Z"}}
            cluster.api.patch(LEASE.path(namespace, "operator"), renewed)
            until = time.monotonic() + 1.0
            await eventually(lambda until=until: time.monotonic() > until, lambda: "")  # type: ignore[misc] # default
            assert not other.started

        assert await other.leads() <= TAKEOVER_AFTER_KILL


async def test_lease_that_was_taken_by_force_is_lost_at_once(
    client: KubeClient, cluster: Cluster, namespace: str
) -> None:
    async with candidates(client, namespace) as start:
        leader = start("a")
        await leader.leads()

        cluster.api.patch(LEASE.path(namespace, "operator"), {"spec": {"holderIdentity": "b"}})

        await eventually(lambda: leader.lost == 1, lambda: leader.task, within=TIMES.renew_deadline)
        assert not leader.elector.is_leader
        assert lease(cluster, namespace)["spec"]["holderIdentity"] == "b"


async def test_deleted_lease_is_made_again(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    async with candidates(client, namespace) as start:
        leader = start("a")
        await leader.leads()
        path = LEASE.path(namespace, "operator")

        cluster.api.delete(path)

        await eventually(lambda: cluster.api.find(path), lambda: leader.task)
        leader.elector.check()
        assert not leader.lost


async def test_election_waits_for_no_other_request(cluster: Cluster, namespace: str) -> None:
    def never() -> None:
        raise NotLeader("the gate is shut")

    async with connected(cluster.kubeconfig, before_write=never) as client, candidates(client, namespace) as start:
        await start("a").leads()


async def cut_off(client: KubeClient) -> None:
    """Let the client reach nobody any more, as after a kill or behind a broken network."""
    client.transport._api_client.configuration.host = "https://127.0.0.1:1"


def test_times_with_which_two_could_lead_are_refused() -> None:
    with pytest.raises(ValueError, match="needs duration > renew_deadline"):
        LeaseTimes(duration=10, renew_deadline=15)
