"""Workers: the same pods as the servers, which do tasks and answer nobody."""

from __future__ import annotations

from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.build import build
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.deployment import revision
from agentservice_operator.builders.labels import Object

from agent_runtime.config import RuntimeConfig
from tests.unit.builders.services import CONTEXT, SHARED_STATE, agent_service, child, workers_child

SELECTOR = {"agentservice.dev/service": "hello", "app.kubernetes.io/component": "worker"}


def with_workers(count: int = 2, **fields: Any) -> AgentService:
    return agent_service(**{"state": SHARED_STATE, "tasks": {"workers": count}, **fields})


def pod(deployment: Object) -> Object:
    return dict(deployment["spec"]["template"]["spec"])


def runtime_config(service: AgentService) -> RuntimeConfig:
    return RuntimeConfig.model_validate_json(child("ConfigMap", service)["data"]["config.json"])


def test_without_workers_nothing_belongs_to_them_and_the_servers_do_the_tasks() -> None:
    service = agent_service(state=SHARED_STATE)

    assert not [item for item in build(service, CONTEXT) if item["metadata"]["name"].endswith("-worker")]
    assert not runtime_config(service).tasks.in_workers


def test_everything_that_belongs_to_them_says_so() -> None:
    children = [item for item in build(with_workers(), CONTEXT) if item["metadata"]["name"] == "hello-worker"]

    assert {item["kind"] for item in children} == {"Deployment", "PodDisruptionBudget", "NetworkPolicy"}
    assert {item["metadata"]["labels"]["app.kubernetes.io/component"] for item in children} == {"worker"}
    assert all(item["metadata"]["ownerReferences"][0]["controller"] for item in children)


def test_they_run_what_the_servers_run_with_another_command_and_one_port() -> None:
    service = with_workers(runtime={"env": [{"name": "A", "value": "b"}], "nodeSelector": {"pool": "agents"}})
    server, worker = pod(child("Deployment", service)), pod(workers_child("Deployment", service))
    (serving,), (working,) = server.pop("containers"), worker.pop("containers")
    differing = {"ports", "args", "lifecycle", "volumeMounts"}

    assert working["args"] == ["worker"]
    assert [port["containerPort"] for port in working["ports"]] == [9090]
    assert {name: value for name, value in working.items() if name not in differing} == {
        name: value for name, value in serving.items() if name not in differing
    }
    ours = {"terminationGracePeriodSeconds", "volumes"}
    assert {name: value for name, value in worker.items() if name not in ours} == {
        name: value for name, value in server.items() if name not in ours
    }


def test_they_have_every_secret_but_the_keys_of_callers() -> None:
    service = with_workers()
    server, worker = pod(child("Deployment", service)), pod(workers_child("Deployment", service))

    volumes = [[volume["name"] for volume in each["volumes"]] for each in (server, worker)]
    mounts = [[mount["name"] for mount in each["containers"][0]["volumeMounts"]] for each in (server, worker)]

    assert "api-keys" in volumes[0]
    assert volumes[1] == [name for name in volumes[0] if name != "api-keys"]
    assert mounts[1] == [name for name in mounts[0] if name != "api-keys"]
    assert "credentials-redis" in volumes[1]


def test_they_leave_without_a_lame_duck_for_nobody_connects_to_them() -> None:
    spec = pod(workers_child("Deployment", with_workers(runtime={"lameDuckSeconds": 20, "drainSeconds": 60})))

    assert spec["terminationGracePeriodSeconds"] == 60 + 10
    assert "lifecycle" not in spec["containers"][0]


def test_their_number_is_always_stated_and_the_servers_is_still_left_to_others() -> None:
    service = with_workers(3)

    assert workers_child("Deployment", service)["spec"]["replicas"] == 3
    assert "replicas" not in child("Deployment", service)["spec"]


def test_the_deployments_select_their_own_pods_and_no_others() -> None:
    service = with_workers()

    for deployment in (child("Deployment", service), workers_child("Deployment", service)):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert workers_child("Deployment", service)["spec"]["selector"]["matchLabels"] == SELECTOR
    assert child("Service", service)["spec"]["selector"]["app.kubernetes.io/component"] == "server"


def test_a_constraint_without_a_selector_spreads_workers_among_workers() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
    service = with_workers(runtime={"topologySpreadConstraints": [constraint]})

    (spread,) = pod(workers_child("Deployment", service))["topologySpreadConstraints"]

    assert spread["labelSelector"] == {"matchLabels": SELECTOR}


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (with_workers(1), with_workers(5), False),
        (with_workers(1), with_workers(1, requestTimeoutSeconds=9), True),
        (agent_service(state=SHARED_STATE), with_workers(1), True),
    ],
    ids=["more workers", "a change of what runs", "the first worker"],
)
def test_servers_and_workers_are_always_of_one_revision(
    before: AgentService,
    after: AgentService,
    changes: bool,  # noqa: FBT001 - the expected value
) -> None:
    now = revision(child("Deployment", after))

    assert revision(workers_child("Deployment", after)) == now
    assert (revision(child("Deployment", before)) != now) == changes


def test_a_change_of_the_servers_template_alone_is_a_revision_of_both() -> None:
    """Else a half of an upgrade would go unnoticed."""
    calm, hasty = (with_workers(runtime={"lameDuckSeconds": seconds, "drainSeconds": 30}) for seconds in (3, 4))
    configurations = {child("ConfigMap", service)["metadata"]["name"] for service in (calm, hasty)}

    assert len(configurations) == 1
    assert revision(workers_child("Deployment", calm)) != revision(workers_child("Deployment", hasty))


def test_a_new_default_image_is_for_both() -> None:
    service, upgraded = with_workers(), BuildContext("agentservice-runtime:next")

    images = [pod(find("Deployment", service, upgraded))["containers"][0]["image"] for find in (child, workers_child)]

    assert images == ["agentservice-runtime:next"] * 2


@pytest.mark.parametrize(("workers", "kept"), [(1, False), (2, True)])
def test_a_disruption_budget_is_there_where_there_is_more_than_one(
    workers: int,
    kept: bool,  # noqa: FBT001 - the expected value
) -> None:
    children = build(with_workers(workers, replicas=1, disruption={"maxUnavailable": "50%"}), CONTEXT)

    budgets = [item["spec"] for item in children if item["kind"] == "PodDisruptionBudget"]

    expected = {
        "maxUnavailable": "50%",
        "selector": {"matchLabels": SELECTOR},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    assert budgets == ([expected] if kept else [])


def test_only_scrapers_may_connect_to_them() -> None:
    everybody: list[Object] = [{"podSelector": {}, "namespaceSelector": {}}]
    service = with_workers(networkPolicy={"allowFrom": everybody, "allowTo": [{}]})

    spec = workers_child("NetworkPolicy", service)["spec"]

    assert spec["podSelector"] == {"matchLabels": SELECTOR}
    (rule,) = spec["ingress"]
    assert [port["port"] for port in rule["ports"]] == [9090]
    assert rule["from"] == child("NetworkPolicy", service)["spec"]["ingress"][1]["from"]
    assert spec["egress"] == child("NetworkPolicy", service)["spec"]["egress"]


def test_a_policy_for_them_can_be_left_to_others_too() -> None:
    kinds = {item["kind"] for item in build(with_workers(networkPolicy={"mode": "Disabled"}), CONTEXT)}

    assert "NetworkPolicy" not in kinds


def test_a_monitor_reads_both() -> None:
    service = with_workers()
    selector = child("PodMonitor", service)["spec"]["selector"]["matchLabels"]

    for deployment in (child("Deployment", service), workers_child("Deployment", service)):
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_the_longest_name_leaves_room_for_theirs() -> None:
    service = with_workers()
    longest = service.model_copy(update={"metadata": service.metadata.model_copy(update={"name": "a" * 60})})

    name = workers_child("Deployment", longest)["metadata"]["name"]

    assert len(name) <= 63
    assert name.endswith("-worker")


def test_what_the_spec_says_of_tasks_reaches_both() -> None:
    tasks = {"workers": 1, "concurrency": 3, "timeoutSeconds": 60, "resultTTLSeconds": 120}
    config = runtime_config(agent_service(state=SHARED_STATE, tasks=tasks))

    assert config.tasks.in_workers
    assert (config.tasks.concurrency, config.tasks.timeout_seconds, config.tasks.result_ttl_seconds) == (3, 60, 120)
    assert config.state.redis_url_file == "/var/run/secrets/agentservice/credentials/redis/url"
