"""What a reconcile reports where not all could be done."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.engine.api_keys import ApiKeys
from agentservice_operator.engine.cache import Caches
from agentservice_operator.engine.children import Children
from agentservice_operator.engine.kinds import (
    AGENT_SERVICE,
    CHILDREN,
    CONFIG_MAP,
    POD_MONITOR,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
    Wave,
)
from agentservice_operator.engine.pod_events import PodEvents
from agentservice_operator.engine.ports import FIELD_MANAGER, Forbidden, KubernetesError, Object
from agentservice_operator.engine.reconcile import Reconciler
from agentservice_operator.engine.references import References
from agentservice_operator.engine.report import COUNTS_EVERY_SECONDS, Reporter
from agentservice_operator.engine.upgrades import Limit, Upgrades
from agentservice_operator.metrics import Metrics

from tests.unit.engine.clock import Clock
from tests.unit.engine.fake_kubernetes import FakeKubernetes
from tests.unit.engine.objects import HELLO, NAMESPACE, Recorded, Woken, agent_service

NO_ANSWER = KubernetesError("apply Service team-a/hello: no answer: TimeoutError")


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

    def serve(self, pods: int = 1) -> None:
        """What the Deployment controller does: so many of one pod serve what the Deployment says."""
        live = self.kubernetes.objects["Deployment", NAMESPACE, "hello"]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), pods)
        counts["replicas"] = counts["updatedReplicas"] = 1
        version = str(int(live["metadata"]["resourceVersion"]) + 1000)
        seen = {**live, "status": counts, "metadata": {**live["metadata"], "resourceVersion": version}}
        self.caches.children[KIND["Deployment"]].put(self.kubernetes.hold(KIND["Deployment"], seen))

    @property
    def status(self) -> Object:
        """What is reported."""
        status: Object = self.kubernetes.objects["AgentService", NAMESPACE, "hello"]["status"]
        return status

    def condition(self, kind: str) -> Any:
        """One condition, None where there is none."""
        return next((entry for entry in self.status["conditions"] if entry["type"] == kind), None)


KIND = {kind.kind: kind for kind in CHILDREN}


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def ready(bench: Bench) -> None:
    await bench.reconcile(HELLO)
    bench.serve()
    await bench.reconcile(HELLO)
    assert bench.condition("Ready")["status"] == "True"


async def test_a_child_that_cannot_be_written_keeps_a_new_spec_from_being_ready(bench: Bench) -> None:
    """The pods serve, but not through what the Service should be."""
    await ready(bench)
    exposure = {"exposure": {"service": {"port": 8080}}}
    bench.see(agent_service(9000, spec=exposure, status=bench.status, generation=2))
    bench.kubernetes.refused = (SERVICE, NO_ANSWER)

    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)

    condition = bench.condition("Ready")
    assert (condition["status"], condition["reason"]) == ("False", "Progressing")
    assert "no answer" in condition["message"]
    assert bench.condition("Reconciling") is not None


async def test_a_right_that_is_missing_is_named(bench: Bench) -> None:
    bench.kubernetes.refused = (SERVICE, Forbidden('cannot patch resource "services"'))

    with pytest.raises(Forbidden):
        await bench.reconcile(HELLO)

    assert bench.condition("Ready")["reason"] == "ChildRejected"
    assert 'cannot patch resource "services"' in bench.condition("Ready")["message"]


async def test_an_ending_namespace_is_told_once_and_is_no_failure(bench: Bench) -> None:
    await ready(bench)
    ending = (
        'services "hello" is forbidden: unable to create new content in namespace team-a because it is being terminated'
    )
    bench.kubernetes.refused = (SERVICE, Forbidden(ending, terminating=True))
    bench.kubernetes.lose(SERVICE, NAMESPACE, "hello")
    bench.caches.children[SERVICE].forget(NAMESPACE, "hello")

    with structlog.testing.capture_logs() as logged:
        results = [await bench.reconcile(HELLO) for _ in range(3)]

    assert [(line["log_level"], line["namespace"], line["name"]) for line in logged] == [("info", NAMESPACE, "hello")]
    assert all(result.requeue_after is not None for result in results)
    assert bench.condition("Ready")["status"] == "False"


async def test_a_lost_child_that_cannot_be_made_again_ends_ready(bench: Bench) -> None:
    await ready(bench)
    bench.kubernetes.lose(SERVICE, NAMESPACE, "hello")
    bench.caches.children[SERVICE].forget(NAMESPACE, "hello")
    bench.kubernetes.refused = (SERVICE, NO_ANSWER)

    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)

    assert bench.condition("Ready")["status"] == "False"


async def test_a_moment_without_answer_does_not_end_ready(bench: Bench) -> None:
    """The child is there as far as is known, and so are the pods."""
    await ready(bench)
    edited = {**bench.kubernetes.objects["Service", NAMESPACE, "hello"]}
    record = {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:type": {}}}
    edited["metadata"] = {**edited["metadata"], "resourceVersion": "9000", "managedFields": [record]}
    bench.caches.children[SERVICE].put({**edited, "type": "x"})
    bench.kubernetes.refused = (SERVICE, NO_ANSWER)

    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)

    assert bench.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("status", [404, 405])
async def test_a_child_of_a_kind_that_is_being_deleted_does_not_end_ready(bench: Bench, status: int) -> None:
    await ready(bench)
    bench.kubernetes.lose(SERVICE, NAMESPACE, "hello")
    bench.caches.children[SERVICE].forget(NAMESPACE, "hello")
    bench.kubernetes.refused = (SERVICE, KubernetesError("create not allowed: it is terminating", status=status))

    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)

    assert bench.condition("Ready")["status"] == "True"


async def test_monitoring_that_cannot_be_written_keeps_nobody_from_being_ready(bench: Bench) -> None:
    bench.caches.set_served(POD_MONITOR, served=True)
    bench.kubernetes.refused = (POD_MONITOR, NO_ANSWER)

    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)
    bench.serve()
    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)

    assert bench.condition("Ready")["status"] == "True"


async def test_without_what_it_refers_to_no_revision_is_promised(bench: Bench) -> None:
    prompt = {"configMapKeyRef": {"name": "prompts", "key": "assistant"}}
    bench.see(agent_service(20, spec={"agents": [{"name": "assistant", "systemPromptFrom": prompt}]}))
    bench.kubernetes.refused = (SERVICE, NO_ANSWER)

    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)

    assert bench.condition("Ready")["reason"] == "ReferenceNotFound"
    assert "updateRevision" not in bench.status


async def test_a_later_agent_service_of_the_name_inherits_no_count(bench: Bench) -> None:
    await ready(bench)
    bench.reconcile._memories[HELLO].replicas = 7
    for kind in KIND.values():
        bench.kubernetes.lose(kind, NAMESPACE, "hello")
        if kind is not SECRET:
            bench.caches.children[kind].forget(NAMESPACE, "hello")
    bench.see(agent_service(9000, uid="u-2"))

    await bench.reconcile(HELLO)

    assert bench.reconcile._memories[HELLO].replicas != 7


async def test_each_wave_of_new_children_begins_with_a_look_at_the_agent_service(bench: Bench) -> None:
    await bench.reconcile(HELLO)

    creates = ("apply", "create")
    waves = list[set[Wave]]()
    for verb, kind, _ in bench.kubernetes.calls:
        if (verb, kind) == ("get_metadata", AGENT_SERVICE.kind):
            waves.append(set())
        elif verb in creates:
            waves[-1].add(CHILDREN[KIND[kind]])
    assert [{wave} for wave in sorted(set().union(*waves))] == waves


async def test_nothing_more_is_made_for_one_that_goes_between_two_waves(bench: Bench) -> None:
    def go() -> None:
        if any(call[:2] == ("apply", "ConfigMap") for call in bench.kubernetes.calls):
            bench.kubernetes.lose(AGENT_SERVICE, NAMESPACE, "hello")

    bench.kubernetes.before_answer = go

    await bench.reconcile(HELLO)

    assert {CHILDREN[KIND[kind]] for verb, kind, _ in bench.kubernetes.calls if verb == "apply"} == {min(Wave)}


async def test_the_way_to_ready_is_told_once(bench: Bench) -> None:
    await ready(bench)
    assert bench.recorded.told() == [
        ("Normal", "APIKeyCreated"),
        ("Normal", "RolloutStarted"),
        ("Normal", "RolloutFinished"),
    ]

    for _ in range(3):
        await bench.reconcile(HELLO)

    assert bench.recorded.told() == []


async def test_a_status_that_could_not_be_written_is_not_told(bench: Bench) -> None:
    """The next try tells it, once."""
    bench.kubernetes.refused = (AGENT_SERVICE, NO_ANSWER)
    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)
    assert ("Normal", "RolloutStarted") not in bench.recorded.told()

    bench.kubernetes.refused = None
    await bench.reconcile(HELLO)

    assert bench.recorded.told() == [("Normal", "RolloutStarted")]


async def test_its_own_service_account_goes_when_the_last_pod_that_runs_as_it_is_replaced(bench: Bench) -> None:
    """Until then an old ReplicaSet may have to make a pod again, which it cannot without its ServiceAccount."""
    await ready(bench)
    bench.kubernetes.hold(SERVICE_ACCOUNT, {"metadata": {"namespace": NAMESPACE, "name": "cloud"}})
    other = {"runtime": {"serviceAccount": {"name": "cloud"}}}
    bench.see(agent_service(9000, spec=other, status=bench.status, generation=2))

    await bench.reconcile(HELLO)
    assert ("ServiceAccount", NAMESPACE, "hello") in bench.kubernetes.objects

    bench.serve()
    await bench.reconcile(HELLO)
    assert ("ServiceAccount", NAMESPACE, "hello") not in bench.kubernetes.objects


PROMPT = {"configMapKeyRef": {"name": "prompts", "key": "assistant"}}
PROMPTS = {"namespace": NAMESPACE, "name": "prompts", "resourceVersion": "5"}


def refer(bench: Bench) -> None:
    """Let the prompt come out of a ConfigMap."""
    bench.kubernetes.hold(CONFIG_MAP, {"metadata": PROMPTS, "data": {"assistant": "Help."}})
    bench.see(agent_service(20, spec={"agents": [{"name": "assistant", "systemPromptFrom": PROMPT}]}))


async def test_pods_that_are_lost_while_the_api_server_answers_no_question_are_reported(bench: Bench) -> None:
    refer(bench)
    await ready(bench)
    said = [(entry["type"], entry["status"]) for entry in bench.status["conditions"]]
    bench.references.put({"metadata": {**PROMPTS, "resourceVersion": "6"}})
    bench.kubernetes.refused_reads = NO_ANSWER

    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)
    assert [(entry["type"], entry["status"]) for entry in bench.status["conditions"]] == said
    bench.serve(0)
    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)

    assert bench.condition("Ready")["reason"] == "PodsNotReady"
    assert bench.condition("ReferencesResolved")["status"] == "True"


async def test_a_new_spec_whose_references_cannot_be_asked_for_is_not_ready(bench: Bench) -> None:
    """What serves is the spec before."""
    await ready(bench)
    agents = [{"name": "assistant", "systemPromptFrom": PROMPT}]
    bench.see(agent_service(9000, spec={"agents": agents}, status=bench.status, generation=2))
    bench.kubernetes.refused_reads = NO_ANSWER

    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)

    assert (bench.condition("Ready")["status"], bench.condition("Ready")["reason"]) == ("False", "Progressing")
    assert bench.status["observedGeneration"] == 2


async def test_after_a_restart_an_api_server_that_does_not_answer_changes_nothing_in_the_status(bench: Bench) -> None:
    refer(bench)
    await ready(bench)
    before = bench.status
    bench.reconcile._latest.clear()
    bench.kubernetes.refused_deletes = NO_ANSWER
    leftover = {**bench.kubernetes.objects["Service", NAMESPACE, "hello"]}
    leftover["metadata"] = {**leftover["metadata"], "name": "leftover", "resourceVersion": "9000"}
    bench.caches.children[SERVICE].put(leftover)

    with pytest.raises(KubernetesError):
        await bench.reconcile(HELLO)

    assert bench.status == before


async def test_another_missing_reference_is_told_once_though_its_message_is_held_back(bench: Bench) -> None:
    agents = [{"name": "assistant", "systemPromptFrom": PROMPT}]
    bench.see(agent_service(20, spec={"agents": agents}))
    await bench.reconcile(HELLO)
    bench.recorded.clear()
    bench.kubernetes.hold(CONFIG_MAP, {"metadata": PROMPTS, "data": {"other": "Help."}})
    bench.references.put({"metadata": {**PROMPTS, "resourceVersion": "6"}})
    bench.references.remove({"metadata": {**PROMPTS, "resourceVersion": "6"}})

    for _ in range(3):
        await bench.reconcile(HELLO)
    assert bench.recorded == []
    bench.clock.now += COUNTS_EVERY_SECONDS
    for _ in range(3):
        await bench.reconcile(HELLO)

    assert [each.note.partition(";")[0] for each in bench.recorded] == ["ConfigMap prompts has no key assistant"]
