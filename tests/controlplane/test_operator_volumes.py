"""State on a volume: the claim is brought up with the rest, and outlives what it should outlive."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest

from dev.api_client import ApiError
from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import (
    COLLECTION_DEADLINE,
    DEADLINE,
    AgentServices,
    Object,
    agent_service,
    condition,
    conditions,
    identity,
    persistent_volume,
    verdict,
    versions,
)
from tests.controlplane.operator_process import OperatorProcess, said

CLAIM = "PersistentVolumeClaim"


@pytest.fixture
def volume(cluster: Cluster, services: AgentServices) -> Iterator[str]:
    """A volume of 5Gi for whoever asks for the storage class that is returned: one that cannot be expanded."""
    name = services.namespace
    cluster.api.create(persistent_volume(name))
    yield name
    cluster.api.delete(f"/api/v1/persistentvolumes/{name}")


def state(storage_class: str, **fields: Any) -> Object:
    volume = {"size": "1Gi", "storageClassName": storage_class, **fields}
    return {"backend": "Volume", "volume": volume}


def owners(item: Object) -> list[str]:
    return [reference["uid"] for reference in item["metadata"].get("ownerReferences", ())]


def wait_owners(services: AgentServices, wanted: list[str]) -> Object:
    def as_wanted() -> Object | None:
        claim = services.child(CLAIM)
        return claim if owners(claim) == wanted else None

    return wait_until(as_wanted, deadline=DEADLINE, describe=services.describe)


def wait_only_claim(services: AgentServices) -> Object:
    """Wait until the claim is all that is left."""
    wait_until(
        lambda: [child["kind"] for child in services.children()] == [CLAIM] and not services.pods(),
        deadline=COLLECTION_DEADLINE,
        describe=lambda: [identity(child) for child in services.children()],
    )
    return services.child(CLAIM)


def test_prf_1_a_volume_costs_one_write_and_its_binding_is_told(
    operator: OperatorProcess, services: AgentServices, volume: str
) -> None:
    services.apply(state=state(volume))
    services.wait_ready()
    ready = services.wait(lambda service: conditions(service).get("VolumeBound") == ("True", "Bound"))
    operator.settle()

    children, writes = services.children(), operator.writes()
    assert CLAIM in {child["kind"] for child in children}
    assert len(writes) <= len(children) + 2, said(writes)
    assert services.child("Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    bound = condition(ready, "VolumeBound")
    assert bound is not None
    assert bound["message"] == f"PersistentVolumeClaim hello-data is bound to 5Gi of storage class {volume}."


def test_prf_4_a_restart_writes_nothing_to_a_volume(
    cluster: Cluster, own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    operator, services = own_operator.start(), own_services
    cluster.api.create(persistent_volume(services.namespace))
    services.apply(state=state(services.namespace))
    services.apply("owned", state=state("of-nobody", whenDeleted="Delete"))
    services.wait_ready()
    services.wait(lambda service: "VolumeBound" in conditions(service), "owned")
    operator.settle()
    before = operator.audit.mark()
    objects = versions(services.everything("hello", "owned"))

    operator.restart()
    operator.settle()

    assert said(operator.writes(since=before)) == []
    assert versions(services.everything("hello", "owned")) == objects
    cluster.api.delete(f"/api/v1/persistentvolumes/{services.namespace}")


def test_a_claim_without_a_volume_is_told(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply(state=state("of-nobody"))

    pending = services.wait(lambda service: conditions(service).get("VolumeBound") == ("False", "VolumePending"))

    assert verdict(pending) != ("True", "Available")
    told = condition(pending, "VolumeBound")
    assert told is not None
    assert f"kubectl -n {services.namespace} describe persistentvolumeclaim hello-data" in told["message"]
    assert operator.child.exit_code is None


def test_a_retained_claim_outlives_the_agent_service_and_serves_the_next_one_of_its_name(
    operator: OperatorProcess, services: AgentServices, volume: str
) -> None:
    services.apply(state=state(volume))
    services.wait_ready()
    claim = services.child(CLAIM)
    assert owners(claim) == []

    services.delete()
    services.wait_gone()
    left = wait_only_claim(services)
    services.apply(state=state(volume))
    services.wait_ready()

    again = services.child(CLAIM)
    assert left["metadata"]["uid"] == again["metadata"]["uid"] == claim["metadata"]["uid"]
    assert again["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]
    assert operator.child.exit_code is None


def test_a_claim_that_is_not_retained_goes_with_its_agent_service(
    operator: OperatorProcess, services: AgentServices, volume: str
) -> None:
    service = services.apply(state=state(volume, whenDeleted="Delete"))
    services.wait_ready()
    assert owners(services.child(CLAIM)) == [service["metadata"]["uid"]]

    services.delete()

    wait_until(
        lambda: not services.children(),
        deadline=COLLECTION_DEADLINE,
        describe=lambda: [identity(child) for child in services.children()],
    )
    assert operator.child.exit_code is None


def test_what_becomes_of_a_claim_can_be_changed_back_and_forth(
    operator: OperatorProcess, services: AgentServices, volume: str
) -> None:
    service = services.apply(state=state(volume))
    services.wait_ready()
    claim = services.child(CLAIM)

    services.apply(state=state(volume, whenDeleted="Delete"))
    wait_owners(services, [service["metadata"]["uid"]])
    services.apply(state=state(volume, whenDeleted="Retain"))
    retained = wait_owners(services, [])

    assert retained["metadata"]["uid"] == claim["metadata"]["uid"]
    services.wait_ready()
    assert len(services.replica_sets()) == 1
    assert operator.child.exit_code is None


@pytest.mark.parametrize("when_deleted", ["Retain", "Delete"])
def test_a_claim_stays_when_the_state_leaves_it_and_is_found_again(
    operator: OperatorProcess, services: AgentServices, volume: str, when_deleted: str
) -> None:
    on_volume = state(volume, whenDeleted=when_deleted)
    services.apply(replicas=3)
    services.wait_ready()

    services.apply(state=on_volume)
    ready = services.wait_ready()
    claim, deployment = services.child(CLAIM), services.child("Deployment")
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    assert deployment["spec"]["replicas"] == 1
    assert "StateShared" not in conditions(ready)

    services.apply()
    ready = services.wait_ready()
    left, deployment = services.child(CLAIM), services.child("Deployment")
    assert left["metadata"]["uid"] == claim["metadata"]["uid"]
    assert "deletionTimestamp" not in left["metadata"]
    assert deployment["spec"]["strategy"]["type"] == "RollingUpdate"
    assert deployment["spec"]["replicas"] == 1
    assert "VolumeBound" not in conditions(ready)

    services.apply(state={**on_volume, "volume": {**on_volume["volume"], "size": "500Mi"}})
    services.wait_ready()
    found = services.child(CLAIM)
    assert found["metadata"]["uid"] == claim["metadata"]["uid"]
    assert found["spec"]["resources"]["requests"]["storage"] == "1Gi"
    assert operator.child.exit_code is None


def test_act_8_a_claim_of_somebody_else_stays_as_it_is(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices, volume: str
) -> None:
    foreign = cluster.api.create(
        {
            "apiVersion": "v1",
            "kind": CLAIM,
            "metadata": {"name": "hello-data", "namespace": services.namespace},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "storageClassName": "of-nobody",
            },
        }
    )
    services.apply(state=state(volume))
    services.wait_not_ready("NameConflict")
    operator.settle()

    path = cluster.api.path_of(foreign)
    live = cluster.api.get(path)
    assert (live["metadata"]["resourceVersion"], live["spec"]) == (
        foreign["metadata"]["resourceVersion"],
        foreign["spec"],
    )
    # With our labels, but those of another AgentService, it is no more ours.
    labels = {"app.kubernetes.io/managed-by": "agentservice-operator", "agentservice.dev/service": "other"}
    labelled = cluster.api.patch(path, {"metadata": {"labels": labels}})
    edited = services.patch({"spec": {"requestTimeoutSeconds": 60}})
    services.wait(lambda service: verdict(service) == ("False", "NameConflict"))
    assert edited["metadata"]["generation"] == 2
    assert cluster.api.get(path)["metadata"]["resourceVersion"] == labelled["metadata"]["resourceVersion"]


def test_two_pods_never_write_one_volume_whoever_scales(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices, volume: str
) -> None:
    services.apply(state=state(volume))
    services.wait_ready()

    with pytest.raises(ApiError, match="a volume serves a single pod"):
        services.patch({"spec": {"replicas": 2}})
    path = services.path("Deployment")
    scaled = cluster.api.patch(f"{path}/scale", {"spec": {"replicas": 3}})["metadata"]["resourceVersion"]

    wait_until(
        lambda: cluster.api.get(path)["spec"]["replicas"] == 1, deadline=DEADLINE, describe=operator.child.log_tail
    )
    assert cluster.api.get(path)["metadata"]["resourceVersion"] != scaled


def test_a_growth_that_is_refused_is_told_and_holds_nothing_else_up(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices, volume: str
) -> None:
    services.apply(state=state(volume))
    services.wait_ready()

    services.apply(state=state(volume, size="2Gi"), requestTimeoutSeconds=60)
    told = services.wait_not_ready("ChildRejected")
    wait_until(lambda: len(services.replica_sets()) == 2, deadline=DEADLINE, describe=services.describe)

    ready = condition(told, "Ready")
    assert ready is not None
    assert f"PersistentVolumeClaim hello-data stays as it is, 1Gi of storage class {volume}: " in ready["message"]
    assert "the storageclass that provisions the pvc must support resize" in ready["message"]
    assert conditions(told)["Stalled"] == ("True", "ChildRejected")

    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": volume},
        "provisioner": "example.com/none",
        "allowVolumeExpansion": True,
    }
    cluster.api.create(storage_class)
    services.patch({"spec": {"requestTimeoutSeconds": 61}})
    services.wait_ready()

    assert services.child(CLAIM)["spec"]["resources"]["requests"]["storage"] == "2Gi"
    cluster.api.delete(f"/apis/storage.k8s.io/v1/storageclasses/{volume}")
    assert operator.child.exit_code is None


@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"size": "1000Mi"}, "the size of a volume only grows"),
        ({"storageClassName": "slow"}, "the storage class of a volume never changes"),
        ({"storageClassName": None}, "the storage class of a volume never changes"),
    ],
    ids=str,
)
def test_a_volume_cannot_become_another_one(cluster: Cluster, namespace: str, change: Object, says: str) -> None:
    created = cluster.api.create(agent_service(namespace, state=state("fast")))
    path = cluster.api.path_of({**created, "apiVersion": "agentservice.dev/v1alpha1", "kind": "AgentService"})

    with pytest.raises(ApiError) as refused:
        cluster.api.patch(path, {"spec": {"state": {"volume": change}}})

    assert refused.value.code == http.client.UNPROCESSABLE_ENTITY
    assert says in str(refused.value)
    cluster.api.patch(path, {"spec": {"state": {"volume": {"size": "1024Mi", "whenDeleted": "Delete"}}}})
