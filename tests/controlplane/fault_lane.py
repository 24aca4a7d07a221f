"""An operator behind a fault proxy, started anew whenever it dies, and the lives that AgentServices live under it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from agentservice_operator.api.v1alpha1.well_known import SERVICE_LABEL
from agentservice_operator.builders.labels import MANAGED_BY, MANAGED_BY_LABEL

from dev.cluster import Cluster
from tests.controlplane.agent_services import AgentServices, Object, is_ready
from tests.controlplane.end_state import EndState, Observer
from tests.controlplane.fault_proxy import FaultProxy, Journal
from tests.controlplane.faults import Fault
from tests.controlplane.operator_process import OperatorProcess, delete_namespace, make_namespace
from tests.controlplane.operator_rbac import LEASE

CONVERGED_WITHIN = 150.0
"""Seconds; 120 are promised where an event was lost, the rest is for a busy machine."""
SETTLED_AFTER = 7.0
"""Seconds without a change: longer than counts are held back."""
QUIET_FOR = 2.0
"""Seconds without a write after which a repaired operator is believed to have no more to do."""
LEADS_WITHIN = 90.0
"""Seconds, from the start of a process; 3 on an idle machine."""


@dataclass(frozen=True)
class Step:
    """One thing that somebody does to an AgentService."""

    name: str
    act: Callable[[AgentServices], object]
    settled: Callable[[Object], bool] = is_ready
    """What an AgentService comes to, where there is one."""


@dataclass(frozen=True)
class Recording:
    """A life without faults.

    Args:
        steps: what was done.
        states: what each step came to.
        created: objects that the operator made, by resource.
        deleted: likewise.
        changed: how often it wrote to what, status apart.
        writes: the names of its writes.
        events: the names of the events that it saw.
    """

    steps: tuple[Step, ...]
    states: tuple[EndState, ...]
    created: Counter[str]
    deleted: Counter[str]
    changed: Counter[str]
    writes: tuple[str, ...]
    events: tuple[str, ...]


@dataclass
class Lane:
    """One operator and its namespaces, each of which sees one life.

    Args:
        operator: the process.
        proxy: what it goes through.
        observer: looks past the proxy.
        free: namespaces that no life was lived in.
        deaths: the last words of each process that ended.
    """

    operator: OperatorProcess
    proxy: FaultProxy
    observer: Observer
    free: list[str]
    deaths: list[str] = field(default_factory=list)

    async def record(self, steps: tuple[Step, ...]) -> Recording:
        """Live without faults, and note what it came to."""
        services, journal = await self._begin(Fault())
        states = []
        for step in steps:
            await asyncio.to_thread(step.act, services)
            states.append(await self.observer.settled(services.namespace, SETTLED_AFTER, step.settled))
        return Recording(
            steps,
            tuple(states),
            journal.created,
            journal.deleted,
            journal.changed,
            tuple(name for name, _ in journal.writes),
            tuple(journal.events),
        )

    async def live(self, recording: Recording, fault: Fault) -> tuple[str, Journal]:
        """Live a recorded life with a fault; returns where, and the journal.

        Raises:
            AssertionError: A step did not come to what it came to without the fault.
        """
        await self.leading()
        services, journal = await self._begin(fault)
        for step, state in zip(recording.steps, recording.states, strict=True):
            await asyncio.to_thread(step.act, services)
            await self.observer.reach(
                services.namespace, state, CONVERGED_WITHIN + fault.patience, f"after '{step.name}'"
            )
        return services.namespace, journal

    async def check(self, recording: Recording, namespace: str, journal: Journal) -> None:
        """Once the operator rests: nothing has moved since, and nothing was made or deleted more often than recorded.

        Raises:
            AssertionError: Something was.
        """
        await self.observer.reach(namespace, recording.states[-1], 0, "in the end")
        for done, wanted, what in (
            (journal.created, recording.created, "created"),
            (journal.deleted, recording.deleted, "deleted"),
        ):
            assert done == wanted, f"{what} {dict(done)} instead of {dict(wanted)}; its writes:\n{journal.told()}"
        assert not journal.fault.complaint, journal.fault.complaint
        if journal.fault.adds_nothing:
            extra = journal.changed - recording.changed
            assert not extra, f"wrote {dict(extra)} once more than without the fault:\n{journal.told()}"

    async def rest(self) -> None:
        """Wait until the operator leads, has been told all, and writes nothing more."""
        await self.leading()
        since, seen = time.monotonic(), self.proxy.written
        quiet_for = QUIET_FOR + self.proxy.patience
        end = since + 2 * quiet_for + LEADS_WITHIN
        while time.monotonic() < since + quiet_for:
            await asyncio.sleep(0.1)
            if (now := self.proxy.written) != seen:
                since, seen = time.monotonic(), now
            assert time.monotonic() < end, "the operator does not come to rest"

    async def leading(self) -> None:
        """Wait until the operator that runs now leads.

        Raises:
            AssertionError: It does not in time.
        """
        end = time.monotonic() + LEADS_WITHIN
        while not await asyncio.to_thread(self._leads):
            assert time.monotonic() < end, f"the operator does not lead; it said\n{self.operator.child.log_tail(30)}"
            await asyncio.sleep(0.1)

    def kill(self) -> None:
        """End the operator as a crash does."""
        self.operator.child.process.kill()

    async def keep_running(self) -> None:
        """Start the operator again whenever it ends, with the Lease of the dead one given back."""
        while True:
            if (code := self.operator.child.exit_code) is not None:
                self.deaths.append(f"exit code {code}\n{self.operator.child.log_tail(10)}")
                await asyncio.to_thread(self._release)
                self.operator.spawn()
            await asyncio.sleep(0.05)

    async def _begin(self, fault: Fault) -> tuple[AgentServices, Journal]:
        services = AgentServices(self.operator.cluster, self.free.pop())
        journal = self.proxy.follow(services.namespace, fault)
        await asyncio.to_thread(_add_bystanders, services)
        return services, journal

    def _leads(self) -> bool:
        try:
            return self.operator.child.exit_code is None and self.operator.leads
        except OSError:
            return False

    def _release(self) -> None:
        # How long a dead leader's Lease is respected is what the tests of leadership measure.
        api = self.operator.cluster.api
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.operator.home}/leases/{LEASE}"
        if api.find(path) is not None:
            api.patch(path, {"spec": {"holderIdentity": ""}})


@asynccontextmanager
async def lane(cluster: Cluster, folder: Path, *, lives: int) -> AsyncIterator[Lane]:
    """Start an operator with a namespace for each of so many lives.

    Args:
        cluster: where.
        folder: for its log.
        lives: how many will be asked for.
    """
    namespaces = [await asyncio.to_thread(make_namespace, cluster, "fault") for _ in range(lives)]
    home = await asyncio.to_thread(make_namespace, cluster, "fault-home")
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(cluster))
        observer = await stack.enter_async_context(Observer(cluster, home))
        operator = OperatorProcess(proxy.cluster(), None, home, tuple(namespaces), folder, name=home)
        stack.callback(operator.close)
        made = Lane(operator, proxy, observer, namespaces.copy())
        operator.spawn()
        keeper = asyncio.create_task(made.keep_running(), name=f"keeper of {home}")
        stack.callback(keeper.cancel)
        await made.leading()
        yield made
    for namespace in (home, *namespaces):
        await asyncio.to_thread(delete_namespace, cluster, namespace)


async def record_twice(on: Lane, steps: tuple[Step, ...]) -> Recording:
    """What two lives without faults have in common (SIV-0).

    Raises:
        AssertionError: They came to different states.
    """
    one, other = await asyncio.gather(on.record(steps), on.record(steps))
    for step, ours, theirs in zip(steps, one.states, other.states, strict=True):
        assert ours == theirs, f"two lives without faults differ after '{step.name}':\n{ours.difference(theirs)}"
    assert (one.created, one.deleted, one.changed) == (other.created, other.deleted, other.changed)
    writes = tuple(name for name in one.writes if name in other.writes)
    events = tuple(name for name in one.events if name in other.events)
    return replace(one, writes=writes, events=events)


def _add_bystanders(services: AgentServices) -> None:
    """What must stay as it is: a stranger's object, and one that looks like a child and is owned by nobody."""
    services.make_config_map("of-a-stranger", mine="untouched")
    labels = {MANAGED_BY_LABEL: MANAGED_BY, SERVICE_LABEL: "hello"}
    metadata = {"name": "like-a-child", "namespace": services.namespace, "labels": labels}
    services.cluster.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
