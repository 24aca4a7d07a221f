"""Who counts the pods: the spec where it does, else whoever scales the Deployment; handing over never drops a pod."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dev.cluster import Cluster
from dev.process import running, wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, Object
from tests.controlplane.operator_process import OperatorProcess, said

AUTOSCALING = {"minReplicas": 2, "maxReplicas": 10}


def wait_count(services: AgentServices, count: int) -> Object:
    """Wait until the Deployment asks for that many pods and the AgentService has settled on them."""

    def settled(service: Object) -> bool:
        deployment = services.cluster.api.find(services.path("Deployment"))
        return (
            deployment is not None
            and deployment["spec"]["replicas"] == count
            and service["status"].get("readyReplicas") == service["status"].get("replicas") == count
            and service["status"]["observedGeneration"] == service["metadata"]["generation"]
        )

    return services.wait(settled)


@contextmanager
def followed(services: AgentServices, folder: Path) -> Iterator[Callable[[], list[int]]]:
    """Follow the count that the Deployment asks for; yields what gives all counts seen so far, in order."""
    cluster = services.cluster
    command: list[str | Path] = [
        cluster.kubectl_path,
        f"--kubeconfig={cluster.kubeconfig}",
        "-n",
        services.namespace,
        "get",
    ]
    template = r'jsonpath={.spec.replicas}{"\n"}'
    log = folder / "counts"

    def seen() -> list[int]:
        return [int(line) for line in log.read_text().split()]

    with running([*command, "deployments", "--watch", "-o", template], name="kubectl", log=log) as child:
        wait_until(seen, deadline=DEADLINE, describe=child.log_tail)
        yield seen


def test_without_replicas_a_new_agent_service_has_one_pod(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply()

    services.wait_ready()

    wait_count(services, 1)
    assert operator.child.exit_code is None


def test_api_7_without_replicas_the_count_is_whoever_scales_the_deployments(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()
    services.wait_ready()
    operator.settle()
    before = operator.audit.mark()

    cluster.kubectl("-n", services.namespace, "scale", "deployment/hello", "--replicas=4")
    wait_count(services, 4)
    services.patch({"spec": {"agents": [{"name": "assistant", "systemPrompt": "Another."}]}})

    wait_until(lambda: len(services.replica_sets()) == 2, deadline=DEADLINE, describe=services.describe)
    services.wait_ready()
    wait_count(services, 4)
    operator.first_write(lambda write: write.resource == "deployments", since=before)
    writes = operator.writes(since=before)
    assert len([write for write in writes if write.resource == "deployments"]) == 1, said(writes)


def test_replicas_in_the_spec_are_enforced(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply(replicas=2)
    wait_count(services, 2)

    before = operator.audit.mark()
    cluster.kubectl("-n", services.namespace, "scale", "deployment/hello", "--replicas=5")

    wait_until(
        lambda: [write for write in operator.writes(since=before) if write.resource == "deployments"],
        deadline=DEADLINE,
        describe=services.describe,
    )
    wait_count(services, 2)


def test_kubectl_scale_of_the_agent_service_sets_its_replicas(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()
    services.wait_ready()

    cluster.kubectl("-n", services.namespace, "scale", "agentservice/hello", "--replicas=3")

    wait_count(services, 3)
    scale = cluster.api.get(f"{services.path('AgentService')}/scale")
    assert scale["spec"]["replicas"] == scale["status"]["replicas"] == 3
    assert len(services.cluster.api.list(services.path("Pod", ""), labelSelector=scale["status"]["selector"])) == 3
    assert operator.child.exit_code is None


def test_zero_replicas_are_ready_and_said_so(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply(replicas=2)
    services.wait_ready()

    services.apply(replicas=0)

    services.wait_ready(reason="ScaledToZero")
    wait_until(lambda: not services.pods(), deadline=DEADLINE, describe=services.describe)
    services.apply(replicas=1)
    services.wait_ready()
    assert operator.child.exit_code is None


def test_api_7_autoscaling_on_and_off_never_drops_a_pod(
    operator: OperatorProcess, services: AgentServices, tmp_path: Path
) -> None:
    services.apply(replicas=5)
    wait_count(services, 5)

    with followed(services, tmp_path) as counts:
        services.apply(autoscaling=AUTOSCALING)
        wait_until(lambda: autoscaler(services), deadline=DEADLINE, describe=services.describe)
        operator.settle()

        services.apply()
        wait_until(lambda: not autoscaler(services), deadline=DEADLINE, describe=services.describe)
        operator.settle()

        services.apply(replicas=6)
        wait_count(services, 6)

        services.apply()
        wait_count(services, 6)
        operator.settle()
        wait_count(services, 6)

        assert set(counts()) == {5, 6}, counts()


def autoscaler(services: AgentServices) -> Object | None:
    return services.cluster.api.find(services.path("HorizontalPodAutoscaler"))


def test_api_7_a_count_outside_the_bounds_is_brought_inside_as_it_is_handed_over(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply(replicas=0)
    services.wait_ready(reason="ScaledToZero")

    services.apply(autoscaling=AUTOSCALING)

    wait_count(services, 2)  # an autoscaler leaves a Deployment at zero alone for ever
    services.apply(replicas=12)
    wait_count(services, 12)
    services.apply(autoscaling=AUTOSCALING)
    wait_count(services, 10)
    assert operator.child.exit_code is None


def test_api_7_a_zero_that_was_handed_over_ends_with_autoscaling_and_one_of_somebody_else_stays(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply(replicas=0)
    services.wait_ready(reason="ScaledToZero")
    services.apply()
    services.wait_ready(reason="ScaledToZero")

    services.apply(autoscaling=AUTOSCALING)
    wait_count(services, 2)
    cluster.kubectl("-n", services.namespace, "scale", "deployment/hello", "--replicas=0")

    services.wait_ready(reason="ScaledToZero")
    operator.settle()
    assert services.child("Deployment")["spec"]["replicas"] == 0


@pytest.mark.parametrize("spec", [{"autoscaling": AUTOSCALING}, {}], ids=["autoscaled", "scaled by hand"])
def test_api_7_a_deployment_that_was_deleted_comes_back_with_its_count(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices, spec: dict[str, Any]
) -> None:
    services.apply(**spec)
    services.wait_ready()
    cluster.kubectl("-n", services.namespace, "scale", "deployment/hello", "--replicas=5")
    wait_count(services, 5)
    old = services.child("Deployment")["metadata"]["uid"]

    cluster.api.delete(services.path("Deployment"))

    wait_until(
        lambda: (d := cluster.api.find(services.path("Deployment"))) is not None and d["metadata"]["uid"] != old,
        deadline=DEADLINE,
        describe=services.describe,
    )
    wait_count(services, 5)
    assert operator.child.exit_code is None
