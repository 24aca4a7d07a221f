"""What many AgentServices ask of the API server and of the operator's memory, in counts; times are measured apart."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from functools import partial
from pathlib import Path

from agentservice_operator.api.v1alpha1.well_known import SERVICE_LABEL
from agentservice_operator.engine.cache import Caches
from agentservice_operator.engine.kinds import CHILDREN, KIND_BY_NAME, Wave
from agentservice_operator.kube.decoding import decode
from agentservice_operator.kube.transport import CONCURRENCY
from agentservice_operator.settings import Settings

from benchmarks.process_figures import resident_kib
from dev.cluster import Cluster
from tests.controlplane.agent_services import DEADLINE, AgentServices, Object
from tests.controlplane.fault_proxy import FaultProxy
from tests.controlplane.faults import Answer, Fault, Forward
from tests.controlplane.operator_process import OperatorProcess, said

IDLE_KIB = 90 * 1024
KIB_PER_SERVICE = 60
MANY = 200
AT_ONCE = 24
"""More than there are workers, so that all of them have work."""


class Gate(Fault):
    """Holds each write until so many are on their way, or until time is up; then all pass."""

    def __init__(self, wanted: int) -> None:
        super().__init__()
        self._wanted = wanted
        self._now = 0
        self._open = asyncio.Event()
        self.most = 0
        self.reads: list[str] = []

    async def write(self, name: str, forward: Forward) -> Answer:
        del name
        self._now += 1
        self.most = max(self.most, self._now)
        if self._now >= self._wanted:
            self._open.set()
        try:
            async with asyncio.timeout(DEADLINE / 4):
                await self._open.wait()
        except TimeoutError:
            self._open.set()
        try:
            return await forward()
        finally:
            self._now -= 1

    async def read(self, target: str, forward: Forward) -> Answer:
        self.reads.append(target)
        return await forward()


async def test_prf_9_many_are_written_side_by_side_with_no_request_too_many(
    cluster: Cluster, crd: None, namespace: str, tmp_path: Path
) -> None:
    del crd
    services = AgentServices(cluster, namespace)
    names = [f"agent-{number}" for number in range(AT_ONCE)]
    for name in names:
        services.apply(name)
    workers = Settings().workers

    async with FaultProxy(cluster) as proxy:
        gate = Gate(workers)
        journal = proxy.follow(namespace, gate)
        operator = OperatorProcess(proxy.cluster(), namespace, namespace, (namespace,), tmp_path)
        try:
            operator.spawn()  # by this thread, with which it ends
            for name in names:
                await asyncio.to_thread(partial(services.wait_ready, name, deadline=2 * DEADLINE))
        finally:
            operator.close()

    children = len(services.children(names[0]))
    of_children = [name for name, _ in journal.writes if "/status#" not in name]
    reads = [target for target in gate.reads if "/agent-" in target]
    assert workers <= gate.most <= CONCURRENCY
    assert len(of_children) == AT_ONCE * children, journal.told()
    # Whether the name of a child is free; and once for those made side by side whether the AgentService is still there.
    assert len(reads) <= AT_ONCE * (children + len(Wave)), reads


def test_prf_11_an_idle_operator_is_small(own_operator: OperatorProcess) -> None:
    own_operator.start()
    own_operator.settle()

    found = resident_kib(own_operator.child.pid)

    print(f"{found / 1024:.1f} MiB")  # noqa: T201 - with -s
    assert found <= IDLE_KIB, said(own_operator.writes())


def test_prf_11_an_agent_service_is_remembered_by_what_matters_of_it(services: AgentServices) -> None:
    services.apply()
    services.wait_ready()
    live = {child["kind"]: json.dumps(child) for child in services.children()}
    [pod] = services.pods()
    objects = {**live, "Pod": json.dumps(pod), "AgentService": json.dumps(services.get())}
    caches = Caches(CHILDREN, lambda _key, _priority: None)
    remember(caches, objects, 0)  # what is made once for all is made now

    tracemalloc.start()
    try:
        for number in range(1, MANY + 1):
            remember(caches, objects, number)
        per_service, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    print(f"{per_service / MANY / 1024:.1f} KiB")  # noqa: T201 - with -s
    assert len(list(caches.pods)) == MANY + 1
    assert per_service / MANY / 1024 <= KIB_PER_SERVICE


def remember(caches: Caches, objects: dict[str, str], number: int) -> None:
    """Let the caches see one more AgentService like the one that there is, with all that belongs to it."""
    for kind, text in objects.items():
        item: Object = decode(text.encode())
        meta = item["metadata"]
        meta["name"] = f"{meta['name']}-{number}"
        meta["uid"] = f"{meta['uid'][:-6]}{number:06}"
        if SERVICE_LABEL in meta.get("labels", {}):
            meta["labels"][SERVICE_LABEL] = f"hello-{number}"
        match kind:
            case "Pod":
                caches.pods.put(item)
            case "AgentService":
                caches.services.put(item)
            case _:
                caches.children[KIND_BY_NAME[kind]].put(item)
