"""What a reconcile reports where not all could be done."""

from __future__ import annotations

import pytest
import structlog
from agentservice_operator.engine.kinds import (
    AGENT_SERVICE,
    CHILDREN,
    CONFIG_MAP,
    KIND_BY_NAME,
    POD_MONITOR,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Wave,
)
from agentservice_operator.engine.ports import FIELD_MANAGER, Forbidden, KubernetesError
from agentservice_operator.engine.report import COUNTS_EVERY_SECONDS

from tests.unit.engine.bench import Bench, ready
from tests.unit.engine.objects import HELLO, NAMESPACE, agent_service

NO_ANSWER = KubernetesError("apply Service team-a/hello: no answer: TimeoutError")


@pytest.fixture
def bench() -> Bench:
    return Bench()


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
    for kind in CHILDREN:
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
            waves[-1].add(CHILDREN[KIND_BY_NAME[kind]])
    assert [{wave} for wave in sorted(set().union(*waves))] == waves


async def test_nothing_more_is_made_for_one_that_goes_between_two_waves(bench: Bench) -> None:
    def go() -> None:
        if any(call[:2] == ("apply", "ConfigMap") for call in bench.kubernetes.calls):
            bench.kubernetes.lose(AGENT_SERVICE, NAMESPACE, "hello")

    bench.kubernetes.before_answer = go

    await bench.reconcile(HELLO)

    assert {CHILDREN[KIND_BY_NAME[kind]] for verb, kind, _ in bench.kubernetes.calls if verb == "apply"} == {min(Wave)}


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
