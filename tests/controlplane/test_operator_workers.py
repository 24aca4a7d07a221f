"""Workers: a second Deployment that comes, is rolled out, is judged and goes with the AgentService."""

from __future__ import annotations

from typing import Any

from dev.cluster import Cluster
from dev.kwok_stages import PREFIX
from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, Object, condition, identity, spec_of
from tests.controlplane.operator_process import OperatorProcess, said

WORKERS = {"Deployment/hello-worker", "NetworkPolicy/hello-worker", "PodDisruptionBudget/hello-worker"}


def wanting(workers: int, **fields: Any) -> dict[str, Any]:
    """A spec with so many workers."""
    url = {name: {"urlFrom": {"secretKeyRef": {"name": name, "key": "url"}}} for name in ("database", "redis")}
    state = {"backend": "PostgreSQL", "postgreSQL": url["database"], "redis": url["redis"]}
    return {"state": state, "tasks": {"workers": workers}, **fields}


def make_secrets(services: AgentServices) -> None:
    services.make_secret("database", url="postgresql://agents:not-a-secret@postgresql/agents")
    services.make_secret("redis", url="redis://redis")


def workers_of(services: AgentServices) -> Object:
    """The Deployment of the workers."""
    return services.cluster.api.get(services.path("Deployment", "hello-worker"))


def children(services: AgentServices) -> dict[str, Object]:
    return {identity(item): item for item in services.children()}


def ready_message(services: AgentServices) -> str:
    return str((condition(services.get(), "Ready") or {}).get("message", ""))


def revisions(services: AgentServices) -> dict[str, int]:
    """How many ReplicaSets there are by component."""
    found = [item["metadata"]["labels"]["app.kubernetes.io/component"] for item in services.replica_sets()]
    return {component: found.count(component) for component in found}


def test_prf_1_a_worker_costs_one_write_per_child_and_two(operator: OperatorProcess, services: AgentServices) -> None:
    make_secrets(services)
    services.apply(**wanting(1))
    services.wait_ready()
    operator.settle()

    writes = operator.writes()
    found = children(services)

    assert found.keys() >= WORKERS - {"PodDisruptionBudget/hello-worker"}
    assert len(writes) <= len(found) + 2, said(writes)
    assert ready_message(services).endswith("serves on 1 of 1 pods. 1 of 1 workers are available.")


def test_prf_7_many_workers_cost_at_most_four_status_writes(operator: OperatorProcess, services: AgentServices) -> None:
    make_secrets(services)
    services.apply(**wanting(10))
    services.wait(lambda _: "10 of 10 workers" in ready_message(services))
    operator.settle()

    status_writes = [write for write in operator.writes() if write.subresource == "status"]

    assert children(services).keys() >= WORKERS
    assert len(status_writes) <= 4, said(status_writes)
    status = services.get()["status"]
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)


def test_pods_wait_for_the_url_of_redis(services: AgentServices) -> None:
    services.make_secret("database", url="postgresql://agents:not-a-secret@postgresql/agents")
    services.apply(**wanting(1))
    services.wait_not_ready("ReferenceNotFound")
    assert "Secret redis" in ready_message(services)
    assert "the URL of Redis" in ready_message(services)
    assert not services.pods()

    services.make_secret("redis", url="redis://redis")

    services.wait_ready()


def test_a_change_of_what_runs_is_one_rollout_of_both_and_another_count_is_none(
    operator: OperatorProcess, services: AgentServices
) -> None:
    make_secrets(services)
    services.apply(**wanting(1))
    first = services.wait_ready()["status"]["currentRevision"]

    services.apply(**wanting(3))
    services.wait(lambda _: workers_of(services)["status"].get("availableReplicas") == 3)
    assert services.wait_ready()["status"]["currentRevision"] == first
    assert revisions(services) == {"server": 1, "worker": 1}

    operator.settle()
    before = operator.audit.mark()
    services.apply(**wanting(3, agents=[{"name": "assistant", "systemPrompt": "Another."}]))
    services.wait(lambda service: service["status"]["currentRevision"] not in {None, first})
    services.wait_ready()
    operator.settle()
    assert revisions(services) == {"server": 2, "worker": 2}
    writes = [write for write in operator.writes(since=before) if write.resource == "deployments"]
    assert sorted(write.name for write in writes) == ["hello", "hello-worker"], said(writes)


def test_a_new_url_in_a_secret_is_no_rollout(operator: OperatorProcess, services: AgentServices) -> None:
    make_secrets(services)
    services.apply(**wanting(1))
    services.wait_ready()
    operator.settle()
    before = operator.audit.mark()

    services.make_secret("redis", url="redis://another")
    operator.settle()

    assert operator.writes(since=before) == []
    assert revisions(services) == {"server": 1, "worker": 1}


def test_the_way_to_workers_and_back_leads_to_the_same_children(
    operator: OperatorProcess, services: AgentServices
) -> None:
    make_secrets(services)
    services.apply(**wanting(0))
    services.wait_ready()
    operator.settle()
    before = {name: spec_of(item) for name, item in children(services).items() if item["kind"] != "ConfigMap"}

    services.apply(**wanting(2))
    services.wait(lambda _: children(services).keys() >= WORKERS)
    services.wait_ready()
    services.apply(**wanting(0))
    services.wait_ready()
    operator.settle()

    after = {name: spec_of(item) for name, item in children(services).items() if item["kind"] != "ConfigMap"}
    assert after == before
    wait_until(
        lambda: {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in services.pods()} == {"server"},
        deadline=DEADLINE,
        describe=services.describe,
    )


def test_workers_that_do_not_come_up_are_told_while_the_servers_serve(services: AgentServices) -> None:
    make_secrets(services)
    services.apply(**wanting(2))
    services.wait_ready()
    failing = {"metadata": {"annotations": {f"{PREFIX}/pod": "ImagePullBackOff"}}}

    services.cluster.api.patch(services.path("Deployment", "hello-worker"), {"spec": {"template": failing}})

    services.wait_not_ready("ImagePullFailed")
    assert ready_message(services).startswith("Workers: Pod hello-worker-")
    assert services.get()["status"]["readyReplicas"] == 1


def test_lost_workers_are_made_again_as_many_as_they_were(cluster: Cluster, services: AgentServices) -> None:
    make_secrets(services)
    services.apply(**wanting(3))
    services.wait_ready()
    path, lost = services.path("Deployment", "hello-worker"), workers_of(services)["metadata"]["uid"]

    cluster.api.delete(path)

    def made_again() -> Object | None:
        live = cluster.api.find(path)
        return live if live is not None and live["metadata"]["uid"] != lost else None

    again = wait_until(made_again, deadline=DEADLINE, describe=services.describe)
    assert again["spec"]["replicas"] == 3
    services.wait_ready()


def test_act_8_a_foreign_deployment_of_the_workers_name_stays_as_it_is(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices
) -> None:
    make_secrets(services)
    labels = {"app": "foreign"}
    foreign = cluster.api.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "hello-worker", "namespace": services.namespace},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "foreign", "image": "example.invalid/foreign:1"}]},
                },
            },
        }
    )

    services.apply(**wanting(1))
    services.wait_not_ready("NameConflict")
    operator.settle()

    assert "Deployment named hello-worker" in ready_message(services)
    live = workers_of(services)
    assert live["metadata"]["generation"] == foreign["metadata"]["generation"]
    assert "ownerReferences" not in live["metadata"]
    cluster.api.delete(services.path("Deployment", "hello-worker"))
    services.wait_ready()


def test_orphaned_workers_are_adopted_without_a_new_pod(operator: OperatorProcess, services: AgentServices) -> None:
    make_secrets(services)
    services.apply(**wanting(2))
    services.wait_ready()
    operator.settle()
    pods = {pod["metadata"]["uid"] for pod in services.pods()}

    services.delete(propagationPolicy="Orphan")
    services.wait_gone()
    reborn = services.apply(**wanting(2))
    services.wait_ready()

    assert workers_of(services)["metadata"]["ownerReferences"][0]["uid"] == reborn["metadata"]["uid"]
    assert {pod["metadata"]["uid"] for pod in services.pods()} == pods
