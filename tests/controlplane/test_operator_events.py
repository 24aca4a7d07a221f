"""What ``kubectl describe agentservice`` tells of the past, in few Events and none at rest."""

from __future__ import annotations

from collections import Counter

from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, Object
from tests.controlplane.operator_process import OperatorProcess
from tests.controlplane.operator_rbac import SERVICE_ACCOUNT

EVENTS = "/apis/events.k8s.io/v1/namespaces/{}/events"
MISSING = {"model": "claude-fake", "credentials": {"secretKeyRef": {"name": "provider", "key": "api-key"}}}
BEGINNING = {"APIKeyCreated": 1, "RolloutStarted": 1, "RolloutFinished": 1}


def events(services: AgentServices) -> list[Object]:
    """Those about AgentServices."""
    path = EVENTS.format(services.namespace)
    return services.cluster.api.list(path, fieldSelector="regarding.kind=AgentService")


def told(services: AgentServices) -> Counter[str]:
    """How often each reason is told, whether by Events or by the count of one."""
    counts = Counter[str]()
    for event in events(services):
        counts[event["reason"]] += (event.get("series") or {"count": 1})["count"]
    return counts


def wait_told(services: AgentServices, wanted: dict[str, int]) -> None:
    """Wait until exactly this is told: Events come a moment after the status."""
    wait_until(lambda: told(services) == wanted, deadline=DEADLINE, describe=lambda: (told(services), events(services)))


def event_writes(operator: OperatorProcess, since: int) -> list[str]:
    return [request.verb for request in operator.requests(since=since) if request.resource == "events"]


def test_kubectl_describe_tells_the_story(cluster: Cluster, operator: OperatorProcess, services: AgentServices) -> None:
    services.apply()
    services.wait_ready()
    wait_told(services, BEGINNING)

    shown = cluster.kubectl("-n", services.namespace, "describe", "agentservice", "hello")

    story = shown.partition("Events:")[2]
    assert "Secret hello-api-keys has been made, with a new API key." in story
    assert f"Rolling out revision {services.get()['status']['currentRevision']}." in story
    assert "serves on 1 of 1 pods." in story
    assert operator.child.exit_code is None


def test_trouble_and_its_end_are_told(operator: OperatorProcess, services: AgentServices) -> None:
    foreign = services.make_config_map("unrelated")
    services.cluster.api.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "hello", "namespace": services.namespace},
            "spec": {"ports": [{"port": 1}], "selector": {"app": foreign["metadata"]["name"]}},
        }
    )
    services.apply(models=[{"name": "main", "provider": "Echo"}])
    services.wait_not_ready("NameConflict")
    wait_told(services, {"APIKeyCreated": 1, "RolloutStarted": 1, "NameConflict": 1})
    (conflict,) = (event for event in events(services) if event["reason"] == "NameConflict")
    assert conflict["type"] == "Warning"
    assert conflict["note"].startswith("A Service named hello exists")

    services.cluster.api.delete(services.path("Service"))
    services.wait_ready(deadline=60)

    wait_told(services, {**BEGINNING, "NameConflict": 1})
    assert operator.child.exit_code is None


def test_a_child_that_is_lost_again_and_again_is_one_event_with_a_count(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()
    services.wait_ready()
    wait_told(services, BEGINNING)

    for times in (1, 2):
        services.cluster.api.delete(services.path("NetworkPolicy"))
        wait_told(services, {**BEGINNING, "ChildRecreated": times})
    services.cluster.api.patch(services.path("ServiceAccount"), {"automountServiceAccountToken": True})
    wait_until(lambda: told(services)["ChildRepaired"] == 1, deadline=DEADLINE, describe=lambda: told(services))

    (lost,) = (event for event in events(services) if event["reason"] == "ChildRecreated")
    assert lost["note"] == "NetworkPolicy hello was gone and has been made again."
    assert lost["related"]["kind"] == "NetworkPolicy"
    (changed,) = (event for event in events(services) if event["reason"] == "ChildRepaired")
    assert changed["related"]["name"] == "hello"
    assert operator.metric("agentservice_operator_events_total") >= 3


def test_kpf_7_no_event_is_written_at_rest_nor_by_a_restart(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    operator, services = own_operator.start(), own_services
    services.apply()
    services.apply("lost", models=[{"name": "main", "provider": "Anthropic", "anthropic": MISSING}])
    services.wait_ready()
    services.wait_not_ready("ReferenceNotFound", "lost")
    wait_told(services, {**BEGINNING, "APIKeyCreated": 2, "ReferenceNotFound": 1})
    operator.settle()
    before = operator.audit.mark()

    services.cluster.kubectl("-n", services.namespace, "label", "agentservice/hello", "example.com/new=label")
    operator.restart()
    wait_until(
        lambda: operator.metric("controller_runtime_reconcile_total") >= 2,
        deadline=30,
        describe=operator.child.log_tail,
    )
    operator.settle()

    assert event_writes(operator, before) == []
    assert operator.metric("agentservice_operator_events_total") == 0


def test_an_operator_that_may_not_write_events_does_its_work(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    operator, services = own_operator.start(), own_services
    role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{services.namespace}/roles/{SERVICE_ACCOUNT}"
    rules = [rule for rule in services.cluster.api.get(role)["rules"] if "events.k8s.io" not in rule["apiGroups"]]
    services.cluster.api.patch(role, {"rules": rules})

    services.apply()

    services.wait_ready()
    wait_until(
        lambda: "an Event is lost" in operator.child.log.read_text(),
        deadline=DEADLINE,
        describe=operator.child.log_tail,
    )
    assert events(services) == []
    assert operator.metric("controller_runtime_reconcile_errors_total") == 0
