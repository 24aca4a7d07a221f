"""The operator of the cluster mends what somebody breaks, and leaves alone what is not its own."""

from __future__ import annotations

from datetime import UTC, datetime

from agentservice_operator.api.v1alpha1.parse import parse
from agentservice_operator.builders.build import build
from agentservice_operator.builders.context import BuildContext

from dev.cluster import Cluster
from dev.kind_session import Session
from dev.process import wait_until
from tests.controlplane.agent_services import AUTOSCALED, EVERY_CHILD, AgentServices, Object, agent_service, conditions
from tests.e2e.agents import SMALL, wait_ready
from tests.e2e.traffic import load

WATCHED = sorted(set(AUTOSCALED) - {"Secret"})
LASTING = {"ServiceAccount", "Secret", "ConfigMap", "Deployment", "Service"}
NO_CHILD_TOO_MANY: Object = {
    "replicas": 1,
    "networkPolicy": {"mode": "Disabled"},
    "observability": {"podMonitor": {"mode": "Never"}, "prometheusRule": {"mode": "Never"}},
}
"""What in a spec asks for nothing but LASTING."""
ROUNDS = 4
PROMISED_SECONDS = 1.0
"""By then 99 of 100 deleted children are back; 0.1 on an idle machine."""
STALLED_SECONDS = 10.0
"""What a stall of a busy machine may cost one of the twenty."""


def test_a_deleted_child_is_back_within_a_second(kind: Cluster, namespace: str) -> None:
    services = AgentServices(kind, namespace)
    services.apply(**EVERY_CHILD, runtime=SMALL)
    wait_ready(kind, namespace, "hello")

    took = {}
    for number in range(ROUNDS):
        for child_kind in WATCHED:
            took[f"{child_kind} {number + 1}"] = seconds_until_back(services, child_kind)

    slowest = sorted(took, key=took.__getitem__, reverse=True)
    print({name: round(took[name], 3) for name in slowest})  # noqa: T201 - with -s
    assert took[slowest[1]] <= PROMISED_SECONDS, {name: took[name] for name in slowest[:5]}
    assert took[slowest[0]] <= STALLED_SECONDS, slowest[0]
    wait_ready(kind, namespace, "hello")


def seconds_until_back(services: AgentServices, kind: str) -> float:
    """Delete the child of that kind; the time from the answer to that until the API server shows the new one."""
    api = services.cluster.api
    child = services.child(kind)
    path = api.path_of(child)
    collection = services.path(kind, "")
    since = api.get(collection)["metadata"]["resourceVersion"]
    api.delete(path, propagationPolicy="Background")
    deleted = datetime.now(UTC)
    for event in api.watch(collection, seconds=30, resourceVersion=since):
        item = event["object"]
        same_name = item["metadata"]["name"] == child["metadata"]["name"]
        if event["type"] == "ADDED" and same_name and item["metadata"]["uid"] != child["metadata"]["uid"]:
            return (datetime.now(UTC) - deleted).total_seconds()
    raise AssertionError(f"{path} is not back after 30 s: {services.describe()}")


def test_children_that_nobody_asks_for_any_more_go_alone(session: Session, kind: Cluster, namespace: str) -> None:
    services = AgentServices(kind, namespace)
    for name in ("hello", "neighbour"):
        services.apply(name, **EVERY_CHILD, runtime=SMALL)
        wait_ready(kind, namespace, name)
    assert {child["kind"] for child in services.children()} == set(AUTOSCALED)
    lasting = uids(services, "hello", LASTING)
    neighbours = uids(services, "neighbour", set(AUTOSCALED))
    pods = {pod["metadata"]["uid"] for pod in services.pods()}

    with load(kind, namespace, "hello", image=session.images.runtime) as callers:
        callers.wait_for_answers(20)
        services.apply(**NO_CHILD_TOO_MANY, runtime=SMALL)
        wait_until(
            lambda: {child["kind"] for child in services.children()} == LASTING,
            deadline=30,
            describe=services.describe,
            interval=0.2,
        )
        callers.wait_for_answers(20)
        lost = callers.lost()

    assert lost == []
    assert uids(services, "hello", LASTING) == lasting
    assert uids(services, "neighbour", set(AUTOSCALED)) == neighbours
    assert {pod["metadata"]["uid"] for pod in services.pods()} == pods


def uids(services: AgentServices, name: str, kinds: set[str]) -> set[str]:
    """The identities of the children of some kinds."""
    return {child["metadata"]["uid"] for child in services.children(name) if child["kind"] in kinds}


def test_a_foreign_object_of_a_childs_name_stays_as_it_is(kind: Cluster, namespace: str) -> None:
    services = AgentServices(kind, namespace)
    foreign = [foreign_object(services, child_kind) for child_kind in AUTOSCALED]
    made = [{**kind.api.create(item), "apiVersion": item["apiVersion"], "kind": item["kind"]} for item in foreign]
    before = steady(services, made)

    for child_kind in AUTOSCALED:
        services.apply(owner_of(child_kind), **EVERY_CHILD, runtime=SMALL)

    for item in made:
        service = services.wait_not_ready("NameConflict", owner_of(item["kind"]))
        assert conditions(service)["Stalled"] == ("True", "NameConflict")
        message = next(c["message"] for c in service["status"]["conditions"] if c["type"] == "Ready")
        assert f"{item['kind']} named {item['metadata']['name']}" in message
    assert live(services, made) == before


def live(services: AgentServices, made: list[Object]) -> dict[str, Object]:
    """The objects as the API server has them now, by kind."""
    api = services.cluster.api
    return {item["kind"]: api.get(api.path_of(item)) for item in made}


def steady(services: AgentServices, made: list[Object]) -> dict[str, Object]:
    """The objects by kind, once the controllers of Kubernetes have written all that they have to say about them."""
    seen: list[dict[str, Object]] = [{}]

    def unchanged() -> dict[str, Object] | None:
        seen.append(live(services, made))
        return seen[-1] if seen[-1] == seen[-2] and seen[-1]["HorizontalPodAutoscaler"].get("status") else None

    return wait_until(unchanged, deadline=60, describe=lambda: str(seen[-1]), interval=2)


def owner_of(kind: str) -> str:
    return f"wants-{kind.lower()}"


def foreign_object(services: AgentServices, kind: str) -> Object:
    """Somebody else's object under the name that the child of that kind will have; otherwise like the child."""
    service = agent_service(services.namespace, owner_of(kind), **EVERY_CHILD)
    child = next(c for c in build(parse(service), BuildContext("example.invalid/foreign")) if c["kind"] == kind)
    labels = {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/name": "foreign"}
    body = {**child, "metadata": {"name": child["metadata"]["name"], "namespace": services.namespace, "labels": labels}}
    if kind == "Deployment":
        body["spec"]["replicas"] = 0  # so that its controller has nothing more to report
    if kind == "HorizontalPodAutoscaler":
        body["spec"]["scaleTargetRef"]["name"] = "nothing"
    if kind == "PodDisruptionBudget":
        body["spec"]["selector"] = {"matchLabels": {"nothing": "has-it"}}  # its status counts pods
    return body
