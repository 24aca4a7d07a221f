"""A reconciler with everything around it, on an API server that refuses what a test wants."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agentservice_operator.builders.context import BuildContext
from agentservice_operator.engine.api_keys import ApiKeys
from agentservice_operator.engine.cache import Caches
from agentservice_operator.engine.children import Children
from agentservice_operator.engine.kinds import (
    AGENT_SERVICE,
    CHILDREN,
    CONFIG_MAP,
    DEPLOYMENT,
    SECRET,
    Kind,
)
from agentservice_operator.engine.pod_events import PodEvents
from agentservice_operator.engine.ports import Object
from agentservice_operator.engine.reconcile import Reconciler
from agentservice_operator.engine.references import References
from agentservice_operator.engine.report import Reporter
from agentservice_operator.engine.upgrades import Limit, Upgrades
from agentservice_operator.metrics import Metrics

from tests.unit.engine.clock import Clock
from tests.unit.engine.fake_kubernetes import FakeKubernetes
from tests.unit.engine.objects import HELLO, NAMESPACE, Recorded, Woken, agent_service


class Picky(FakeKubernetes):
    """Refuses the writes of one kind."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: tuple[Kind, Exception] | None = None
        self.refused_reads: Exception | None = None
        """Of ConfigMaps."""
        self.refused_deletes: Exception | None = None

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, unless no ConfigMap may be read."""
        if self.refused_reads is not None and kind is CONFIG_MAP:
            raise self.refused_reads
        return await super().get(kind, namespace, name)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object, unless none may be deleted."""
        if self.refused_deletes is not None:
            raise self.refused_deletes
        await super().delete(kind, namespace, name, uid=uid)

    async def apply(self, kind: Kind, intent: Object, *, manager: str, force: bool = True) -> Object:
        """Replace the object, unless it is of the refused kind."""
        if self.refused is not None and self.refused[0] is kind:
            raise self.refused[1]
        return await super().apply(kind, intent, manager=manager, force=force)

    async def apply_status(self, kind: Kind, intent: Object, *, manager: str) -> Object:
        """Replace the status, unless it is of the refused kind."""
        if self.refused is not None and self.refused[0] is kind:
            raise self.refused[1]
        return await super().apply_status(kind, intent, manager=manager)


@dataclass
class Bench:
    """A reconciler of the AgentService hello on a fake API server."""

    kubernetes: Picky = field(default_factory=Picky)

    def __post_init__(self) -> None:
        self.caches = Caches([kind for kind in CHILDREN if kind is not SECRET], Woken())
        self.recorded = Recorded()
        self.clock = Clock()
        self.references = References(self.kubernetes, Woken())
        self.reconcile = Reconciler(
            caches=self.caches,
            children=Children(self.kubernetes, self.caches, Metrics(), self.recorded),
            references=self.references,
            api_keys=ApiKeys(self.kubernetes, self.recorded, Metrics()),
            pod_events=PodEvents(self.kubernetes),
            reporter=Reporter(self.kubernetes, self.caches, self.clock),
            recorder=self.recorded,
            reports=lambda _: None,
            upgrades=Upgrades(self.caches, Limit("1"), Woken()),
            defaults=BuildContext("runtime:1"),
        )
        self.see(agent_service())

    def see(self, service: Object) -> None:
        """Make an AgentService exist and seen."""
        self.caches.services.put(self.kubernetes.hold(AGENT_SERVICE, service))

    def serve(self, pods: int = 1, name: str = "hello") -> None:
        """What the Deployment controller does: so many of one pod serve what the Deployment says."""
        live = self.kubernetes.objects["Deployment", NAMESPACE, name]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), pods)
        counts["replicas"] = counts["updatedReplicas"] = 1
        version = str(int(live["metadata"]["resourceVersion"]) + 1000)
        seen = {**live, "status": counts, "metadata": {**live["metadata"], "resourceVersion": version}}
        self.caches.children[DEPLOYMENT].put(self.kubernetes.hold(DEPLOYMENT, seen))

    @property
    def status(self) -> Object:
        """What is reported."""
        status: Object = self.kubernetes.objects["AgentService", NAMESPACE, "hello"]["status"]
        return status

    def condition(self, kind: str) -> Any:
        """One condition, None where there is none."""
        return next((entry for entry in self.status["conditions"] if entry["type"] == kind), None)


async def ready(bench: Bench) -> None:
    """Bring it up."""
    await bench.reconcile(HELLO)
    bench.serve()
    await bench.reconcile(HELLO)
    assert bench.condition("Ready")["status"] == "True"
