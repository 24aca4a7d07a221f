"""What a reconcile does with workers: when it is Ready, and when they and what is theirs may go."""

from __future__ import annotations

from typing import Any

import pytest
from agentservice_operator.engine.kinds import CONFIG_MAP, REPLICA_SET, SECRET
from agentservice_operator.engine.report import COUNTS_EVERY_SECONDS

from tests.unit.builders.services import SHARED_STATE
from tests.unit.engine.bench import Bench
from tests.unit.engine.objects import HELLO, NAMESPACE, agent_service


@pytest.fixture
def bench() -> Bench:
    return Bench()


def ask_for_workers(bench: Bench, **spec: Any) -> None:
    """Let workers do the tasks."""
    for name in ("database", "redis"):
        record = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {"f:url": {}}}}
        meta = {"namespace": NAMESPACE, "name": name, "resourceVersion": "5", "managedFields": [record]}
        bench.kubernetes.hold(SECRET, {"metadata": meta})
    bench.see(agent_service(20, spec={"state": SHARED_STATE, "tasks": {"workers": 1}, **spec}))


async def with_workers(bench: Bench) -> None:
    """Servers and workers serve."""
    ask_for_workers(bench)
    await bench.reconcile(HELLO)
    bench.serve()
    bench.serve(name="hello-worker")
    await bench.reconcile(HELLO)
    assert bench.condition("Ready")["status"] == "True"


def workers_children(bench: Bench) -> set[str]:
    """The kinds of what belongs to the workers."""
    return {kind for kind, _, name in bench.kubernetes.objects if name == "hello-worker"}


async def test_it_is_ready_when_its_workers_are_too(bench: Bench) -> None:
    ask_for_workers(bench)
    await bench.reconcile(HELLO)
    bench.serve()

    bench.clock.now += COUNTS_EVERY_SECONDS
    await bench.reconcile(HELLO)
    assert bench.condition("Ready")["message"].startswith("Workers: ")

    bench.serve(name="hello-worker")
    await bench.reconcile(HELLO)
    assert bench.condition("Ready")["status"] == "True"
    assert bench.status["replicas"] == 1


async def test_workers_that_are_no_longer_wanted_go_with_all_that_is_theirs(bench: Bench) -> None:
    await with_workers(bench)
    assert workers_children(bench) == {"Deployment", "NetworkPolicy"}
    bench.see(agent_service(9000, spec={"state": SHARED_STATE}, status=bench.status, generation=2))

    await bench.reconcile(HELLO)

    assert workers_children(bench) == set()


async def test_workers_stay_with_servers_that_leave_their_tasks_to_them(bench: Bench) -> None:
    """While a reference is missing the servers are not changed: nobody would do what they take."""
    await with_workers(bench)
    prompt = {"configMapKeyRef": {"name": "prompts", "key": "assistant"}}
    prompts = {"namespace": NAMESPACE, "name": "prompts", "resourceVersion": "5"}
    agents = [{"name": "assistant", "systemPromptFrom": prompt}]
    edited = {"state": SHARED_STATE, "agents": agents}
    bench.see(agent_service(9000, spec=edited, status=bench.status, generation=2))

    await bench.reconcile(HELLO)
    assert bench.condition("Ready")["reason"] == "ReferenceNotFound"
    assert workers_children(bench) == {"Deployment", "NetworkPolicy"}

    bench.kubernetes.hold(CONFIG_MAP, {"metadata": prompts, "data": {"assistant": "Help."}})
    bench.references.put({"metadata": {**prompts, "resourceVersion": "6"}})
    await bench.reconcile(HELLO)
    assert workers_children(bench) == set()


async def test_a_configuration_that_only_workers_mount_is_kept(bench: Bench) -> None:
    ask_for_workers(bench, runtime={"revisionHistoryLimit": 0})
    await bench.reconcile(HELLO)
    (first,) = (name for kind, _, name in bench.kubernetes.objects if kind == "ConfigMap")
    volume = {"name": "config", "configMap": {"name": first}}
    labels = bench.kubernetes.objects["Deployment", NAMESPACE, "hello-worker"]["metadata"]["labels"]
    old = {"metadata": {"namespace": NAMESPACE, "name": "hello-worker-1", "labels": labels}}
    old["spec"] = {"replicas": 1, "template": {"spec": {"volumes": [volume]}}}
    bench.kubernetes.hold(REPLICA_SET, old)
    spec = {"state": SHARED_STATE, "tasks": {"workers": 1, "concurrency": 2}, "runtime": {"revisionHistoryLimit": 0}}
    bench.see(agent_service(9000, spec=spec, status=bench.status, generation=2))

    await bench.reconcile(HELLO)

    configurations = {name for kind, _, name in bench.kubernetes.objects if kind == "ConfigMap"}
    assert first in configurations
    assert len(configurations) == 2
