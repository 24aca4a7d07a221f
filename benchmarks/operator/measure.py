"""The measurements, each on a real API server with the real operator process; what they find are plain numbers."""

from __future__ import annotations

import asyncio
import math
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentservice_operator.builders.context import BuildContext
from agentservice_operator.engine.kinds import (
    AGENT_SERVICE,
    CONFIG_MAP,
    DEPLOYMENT,
    SERVICE,
    Kind,
    ServiceKey,
)

from benchmarks.operator.load import (
    Client,
    Object,
    Seen,
    children_of,
    create_services,
    names,
    observed,
    write_children,
)
from benchmarks.process_figures import cpu_seconds, resident_kib
from dev.cluster import Cluster
from dev.controlplane import control_plane
from dev.process import running
from tests.controlplane.agent_services import agent_service, install_definitions, verdict
from tests.controlplane.operator_process import ROOT, RUNTIME_IMAGE, OperatorProcess, make_namespace

Figures = dict[str, Any]

CONTEXT = BuildContext(RUNTIME_IMAGE, served_kinds=frozenset())
"""What the operator builds with: these API servers have no definitions but ours."""
REPAIRS = 100
EDITS = 100
NEIGHBOURS = 200
"""AgentServices beside one that fails."""
FOREIGN = 2_000
"""ConfigMaps, and as many Deployments, of somebody else."""
SETTLE_SECONDS = 10.0
"""After a start, until caches are filled and the lists of the first moment are let go."""
IDLE_SECONDS = 120.0
"""In which everything is listed, looked at and asked for again."""
RECONCILES = "controller_runtime_reconcile_total"
_PROBE_EVERY = 0.05


@dataclass(frozen=True)
class Bench:
    """A fresh control plane with the CustomResourceDefinition, and one namespace to work in."""

    cluster: Cluster
    client: Client
    namespace: str
    folder: Path
    kinds: tuple[Kind, ...]
    """Of the children of the smallest AgentService."""

    @contextmanager
    def operator(self) -> Iterator[OperatorProcess]:
        """The operator, leading, until the block ends."""
        home = make_namespace(self.cluster, "home")
        process = OperatorProcess(
            self.cluster,
            self.namespace,
            home,
            (),
            self.folder,
            settings={"AGENTSERVICE_LOG_LEVEL": "info", "AGENTSERVICE_INQUIRY_SECONDS": "60"},
        )
        try:
            yield process.start()
        finally:
            process.close()

    async def applied(self, count: int, then: Callable[[Object], Awaitable[object]] | None = None) -> float:
        """Create AgentServices at once; returns the seconds until all their children were seen."""
        wanted = names(count)
        async with observed(self.client, self.kinds, self.namespace) as seen:
            began = time.monotonic()
            await create_services(self.client, self.namespace, wanted, then)
            await seen.until(
                lambda: all(seen.counts[kind.kind] >= count for kind in self.kinds), f"the children of {count}"
            )
            return time.monotonic() - began

    async def ready(self, count: int) -> None:
        """Wait until so many AgentServices are Ready and nothing has been written for a while."""
        while True:
            items = (await self.client.send("GET", AGENT_SERVICE.path(self.namespace)))["items"]
            if sum((verdict(item) or ("",))[0] == "True" for item in items) >= count:
                return
            await asyncio.sleep(1)


@asynccontextmanager
async def bench(folder: Path) -> AsyncIterator[Bench]:
    """A control plane of its own for each round: no round pays for what another one left behind."""
    with control_plane(folder) as cluster:
        install_definitions(cluster)
        namespace = make_namespace(cluster, "bench")
        async with Client(cluster) as client:
            probe = {**agent_service(namespace, "probe")}
            probe["metadata"]["uid"] = "probe"
            kinds = tuple(kind for kind, _ in children_of(probe, CONTEXT))
            yield Bench(cluster, client, namespace, folder, kinds)


async def floor_round(folder: Path, count: int) -> Figures:
    """The same objects written by a bare client."""
    async with bench(folder) as on:
        seconds = await on.applied(count, lambda live: write_children(on.client, live, CONTEXT))
        return {"seconds": seconds}


async def operator_round(folder: Path, count: int) -> Figures:
    """AgentServices applied at once, and what the operator wrote for them."""
    async with bench(folder) as on:
        with on.operator() as operator:
            return await _apply_and_count(on, operator, count)


async def _apply_and_count(on: Bench, operator: OperatorProcess, count: int) -> Figures:
    since = operator.audit.mark()
    async with _bystander(on) as answers:
        seconds = await on.applied(count)
    await on.ready(count)
    writes = operator.writes(since=since)
    return {
        "seconds": seconds,
        "children": len(on.kinds),
        "writes_per_service": len(writes) / count,
        "status_writes_per_service": sum(write.subresource == "status" for write in writes) / count,
        "refused_429": sum(write.code == 429 for write in operator.requests(since=since)),  # noqa: PLR2004 - HTTP
        "bystander_p99_ms": percentile(answers, 99) * 1000,
    }


@asynccontextmanager
async def _bystander(on: Bench) -> AsyncIterator[list[float]]:
    """Somebody who reads one object again and again; a refusal ends the benchmark."""
    answers: list[float] = []

    async def probe(client: Client) -> None:
        while True:
            began = time.monotonic()
            await client.send("GET", CONFIG_MAP.path("default", "kube-root-ca.crt"))
            answers.append(time.monotonic() - began)
            await asyncio.sleep(_PROBE_EVERY)

    async with Client(on.cluster, in_flight=1) as client:
        task = asyncio.create_task(probe(client))
        try:
            yield answers
        finally:
            task.cancel()
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            if isinstance(outcome, Exception):
                raise outcome


async def life_of_many(folder: Path, few: int, many: int) -> Figures:
    """Memory, reaction, edits, no-op work and restart, with few and with many AgentServices."""
    async with bench(folder) as on:
        with on.operator() as operator:
            await asyncio.sleep(SETTLE_SECONDS)
            found: Figures = {"few": few, "many": many, "memory_idle_kib": resident_kib(operator.child.pid)}
            await on.applied(few)
            await on.ready(few)
            found["few_figures"] = await _reaction(on, names(few))
            found["applied"] = await _apply_more(on, operator, few, many)
            found["idle"] = await _idle(on, operator)
            found["memory_many_kib"] = resident_kib(operator.child.pid)
            found["many_figures"] = await _reaction(on, names(many))
            found["no_op"] = await _no_op(on, operator, names(many), found["idle"]["cpu_share"])
            found["restart"] = await _restart(on, operator)
        return found


async def _apply_more(on: Bench, operator: OperatorProcess, few: int, many: int) -> Figures:
    since, began = operator.audit.mark(), time.monotonic()
    async with observed(on.client, on.kinds, on.namespace) as seen:
        await create_services(on.client, on.namespace, names(many)[few:])
        await seen.until(lambda: all(seen.counts[kind.kind] >= many - few for kind in on.kinds), f"{many} services")
    seconds = time.monotonic() - began
    await on.ready(many)
    return {"seconds": seconds, "writes_per_service": len(operator.writes(since=since)) / (many - few)}


async def _reaction(on: Bench, among: Sequence[str]) -> Figures:
    """From a child's deletion to its return, and from an edit to the new Deployment."""
    chance = random.Random(1)  # noqa: S311 - the same choice in every run
    async with observed(on.client, (SERVICE, DEPLOYMENT), on.namespace) as seen:
        repairs = [await _repair(on, seen, chance.choice(among)) for _ in range(REPAIRS)]
        edits = [await _edit(on, seen, chance.choice(among), number) for number in range(EDITS)]
    return {
        "repair_p50_ms": percentile(repairs, 50) * 1000,
        "repair_p99_ms": percentile(repairs, 99) * 1000,
        "edit_p50_ms": percentile(edits, 50) * 1000,
        "edit_p99_ms": percentile(edits, 99) * 1000,
    }


async def _repair(on: Bench, seen: Seen, name: str) -> float:
    events = seen.times.setdefault((SERVICE.kind, name), [])
    before = len(events)
    await on.client.send("DELETE", SERVICE.path(on.namespace, name))
    await seen.until(lambda: len(events) >= before + 2, f"Service {name} deleted and back")
    return events[before + 1] - events[before]


async def _edit(on: Bench, seen: Seen, name: str, number: int) -> float:
    events = seen.times.setdefault((DEPLOYMENT.kind, name), [])
    before = len(events)
    began = time.monotonic()
    patch = {"spec": {"runtime": {"podAnnotations": {"example.com/number": str(number)}}}}
    await on.client.patch(AGENT_SERVICE, on.namespace, name, patch)
    await seen.until(lambda: len(events) > before, f"Deployment {name} changed")
    return events[before] - began


async def _idle(on: Bench, operator: OperatorProcess) -> Figures:
    """An operator that has nothing to do: what it takes of a CPU, and what it does meanwhile."""
    operator.seen_from(on.namespace).settle()
    since, reconciles = operator.audit.mark(), operator.metric(RECONCILES)
    began, used = time.monotonic(), cpu_seconds(operator.child.pid)
    await asyncio.sleep(IDLE_SECONDS)
    return {
        "cpu_share": (cpu_seconds(operator.child.pid) - used) / (time.monotonic() - began),
        "reconciles": operator.metric(RECONCILES) - reconciles,
        "writes": len(operator.writes(since=since)),
    }


async def _no_op(on: Bench, operator: OperatorProcess, among: Sequence[str], idle_share: float) -> Figures:
    """An edit of every AgentService that changes nothing: what the operator writes, and what it costs beside kopf.

    What an idle operator takes in the same time, ``idle_share`` of a CPU, is not of the edits.
    """
    command = [sys.executable, "-m", "benchmarks.operator.bare_kopf", on.namespace]
    paths = os.pathsep.join((str(ROOT), str(ROOT / "operator")))
    environment = os.environ | {"PYTHONPATH": paths, "KUBECONFIG": str(on.cluster.kubeconfig)}
    with running(command, name="bare-kopf", log=on.folder / "bare-kopf.log", env=environment) as bare:
        await asyncio.sleep(SETTLE_SECONDS)
        operator.seen_from(on.namespace).settle()
        since, began = operator.audit.mark(), time.monotonic()
        ours, theirs = cpu_seconds(operator.child.pid), cpu_seconds(bare.pid)
        async with asyncio.TaskGroup() as editing:
            for name in among:
                patch = {"metadata": {"annotations": {"example.com/looked-at": "yes"}}}
                editing.create_task(on.client.patch(AGENT_SERVICE, on.namespace, name, patch))
        operator.seen_from(on.namespace).settle()
        ours, theirs = cpu_seconds(operator.child.pid) - ours, cpu_seconds(bare.pid) - theirs
        ours -= idle_share * (time.monotonic() - began)
        return {
            "edits": len(among),
            "writes": len(operator.writes(since=since)),
            "cpu_ms_per_edit": ours / len(among) * 1000,
            "kopf_cpu_ms_per_edit": theirs / len(among) * 1000,
        }


async def _restart(on: Bench, operator: OperatorProcess) -> Figures:
    since, began = operator.audit.mark(), time.monotonic()
    operator.restart()
    seconds = time.monotonic() - began
    operator.seen_from(on.namespace).settle()
    asked = operator.audit.requests(user=operator.user, since=since)
    return {
        "seconds_to_lead": seconds,
        "writes": len(operator.writes(since=since)),
        "lists": sum(request.verb == "list" for request in asked),
    }


async def foreign_round(folder: Path, count: int) -> Figures:
    """Memory beside many objects of somebody else."""
    async with bench(folder) as on:
        elsewhere = make_namespace(on.cluster, "foreign")
        with on.operator() as operator:
            await on.applied(10)
            await on.ready(10)
            await asyncio.sleep(SETTLE_SECONDS)
            before = resident_kib(operator.child.pid)
            async with asyncio.TaskGroup() as making:
                for number in range(count):
                    for kind, item in _foreign(elsewhere, number):
                        making.create_task(on.client.send("POST", kind.path(elsewhere), item))
            operator.restart()
            await asyncio.sleep(SETTLE_SECONDS)
            return {"objects": 2 * count, "without_kib": before, "with_kib": resident_kib(operator.child.pid)}


def _foreign(namespace: str, number: int) -> Iterator[tuple[Kind, Object]]:
    metadata = {"name": f"foreign-{number}", "namespace": namespace}
    yield CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"text": "x" * 1024}}
    labels = {"app": f"foreign-{number}"}
    container = {"name": "main", "image": "example.invalid/foreign"}
    spec = {
        "replicas": 0,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    yield DEPLOYMENT, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def fairness_round(folder: Path, count: int, *, failing: bool) -> Figures:
    """Many AgentServices applied at once, beside one whose children the API server never takes."""
    async with bench(folder) as on:
        with on.operator() as operator:
            if failing:
                await _start_failing(on, operator)
            seconds = await on.applied(count)
            errors = operator.metric("controller_runtime_reconcile_errors_total")
            return {"seconds": seconds, "failed_reconciles": errors}


async def _start_failing(on: Bench, operator: OperatorProcess) -> None:
    broken = ServiceKey(make_namespace(on.cluster, "broken"), "broken")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": broken.namespace},
        "spec": {"hard": {"count/services": "0"}},
    }
    on.cluster.api.create(quota)
    on.cluster.api.create(agent_service(broken.namespace, broken.name))
    operator.wait_for(lambda: operator.metric("controller_runtime_reconcile_errors_total") > 0, "a failure", 60)


def percentile(values: Sequence[float], rank: int) -> float:
    """The smallest value that so many percent of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(len(values) * rank / 100) - 1)]
