"""How a child is brought to its intent: what is asked of the API server, whatever the cache believes."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, field
from typing import Any

import pytest
from agentservice_operator.engine.api_keys import ApiKeys
from agentservice_operator.engine.cache import Caches
from agentservice_operator.engine.children import Children, Memory, ReplicasPolicy
from agentservice_operator.engine.kinds import AGENT_SERVICE, DEPLOYMENT, SECRET, SERVICE
from agentservice_operator.engine.live_owner import LiveOwner
from agentservice_operator.engine.ports import FIELD_MANAGER, REPLICAS_FIELD_MANAGER, Conflict, Object
from agentservice_operator.metrics import Metrics

from tests.unit.engine.fake_kubernetes import FakeKubernetes
from tests.unit.engine.objects import NAMESPACE, Recorded, Woken, agent_service, config_map, deployment, known_service

OWNER = known_service()
OURS = {"app.kubernetes.io/managed-by": "agentservice-operator", "agentservice.dev/service": "hello"}
REFERENCE = {"uid": "u-1", "controller": True, "kind": "AgentService", "name": "hello"}
OWNED_COUNT = {
    "manager": FIELD_MANAGER,
    "operation": "Apply",
    "apiVersion": "apps/v1",
    "fieldsV1": {"f:spec": {"f:replicas": {}}},
}
ROTATION = "agentservice.dev/api-key-rotation"
ANY_COUNT = ReplicasPolicy(0, None)


@dataclass
class Bench:
    """Children of one AgentService on a fake API server."""

    kubernetes: FakeKubernetes = field(default_factory=FakeKubernetes)
    memory: Memory = field(default_factory=lambda: Memory("u-1"))

    def __post_init__(self) -> None:
        self.caches = Caches([SERVICE, DEPLOYMENT], Woken())
        self.recorded = Recorded()
        self.children = Children(self.kubernetes, self.caches, Metrics(), self.recorded)
        self.api_keys = ApiKeys(self.kubernetes, self.recorded, Metrics())
        self.kubernetes.hold(AGENT_SERVICE, agent_service())

    async def ensure_service(self, intent: Object) -> None:
        """Bring the Service to an intent."""
        await self.children.ensure(OWNER, SERVICE, intent, self.memory, ANY_COUNT, live_owner=self.live_owner())

    async def ensure_deployment(self, intent: Object, policy: ReplicasPolicy = ANY_COUNT) -> None:
        """Bring the Deployment to an intent."""
        await self.children.ensure(OWNER, DEPLOYMENT, intent, self.memory, policy, live_owner=self.live_owner())

    async def ensure_secret(self, intent: Object) -> None:
        """Bring the key Secret to an intent."""
        await self.api_keys.ensure(OWNER, intent, self.memory, live_owner=self.live_owner())

    def live_owner(self) -> LiveOwner:
        """That of a wave that begins."""
        return LiveOwner(self.kubernetes, OWNER)

    def counts(self) -> list[tuple[str, int | None]]:
        """By write: the field manager, and the replicas that it stated."""
        return [(manager, item["spec"].get("replicas")) for manager, item in self.kubernetes.written_by]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def intent(kind: str = "Service", spec: Object | None = None) -> Object:
    api_version = "apps/v1" if kind == "Deployment" else "v1"
    meta = {"name": "hello", "namespace": NAMESPACE, "labels": OURS, "ownerReferences": [REFERENCE]}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, "spec": spec or {}}


def live_service(version: int = 10, **meta: Any) -> Object:
    return config_map("hello", version, **meta)


def live_deployment(replicas: int, **meta: Any) -> Object:
    return deployment(spec={"replicas": replicas}, managedFields=[OWNED_COUNT], **meta)


async def test_an_apply_names_the_object_that_was_looked_at(bench: Bench) -> None:
    """An apply without a uid would make a child anew that was deleted meanwhile, or take another's object over."""
    bench.caches.children[SERVICE].put(bench.kubernetes.hold(SERVICE, live_service()))

    await bench.ensure_service(intent())

    assert [item["metadata"]["uid"] for item in bench.kubernetes.written] == ["uid-of-hello"]


async def test_after_a_conflict_the_cache_is_not_believed(bench: Bench) -> None:
    bench.caches.children[SERVICE].put(live_service())
    bench.kubernetes.refuses = Conflict("no existing object was found")
    with pytest.raises(Conflict):
        await bench.ensure_service(intent())
    bench.kubernetes.refuses = None
    bench.kubernetes.calls.clear()

    await bench.ensure_service(intent())

    assert bench.kubernetes.verbs() == ["get", "get_metadata", "apply"]


async def test_an_edit_that_overtakes_the_answer_of_an_apply_is_repaired(bench: Bench) -> None:
    service = bench.caches.children[SERVICE]
    service.put(bench.kubernetes.hold(SERVICE, live_service()))
    edited = {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:spec": {}}}
    bench.kubernetes.before_answer = lambda: service.put({**live_service(5000, managedFields=[edited]), "spec": {}})
    await bench.ensure_service(intent())
    bench.kubernetes.before_answer = lambda: None
    bench.kubernetes.verbs()

    await bench.ensure_service(intent())

    assert bench.kubernetes.verbs() == ["apply"]


async def test_what_the_server_stores_in_another_form_is_not_written_again(bench: Bench) -> None:
    await bench.ensure_service(intent())
    bench.kubernetes.verbs()

    await bench.ensure_service(intent())

    assert bench.kubernetes.verbs() == []


async def test_edits_without_end_cost_no_memory_without_end(bench: Bench) -> None:
    for port in range(50):
        await bench.ensure_service(intent(spec={"port": port}))

    assert len(bench.memory.equivalent) == 1


async def test_an_adopted_deployment_keeps_its_count(bench: Bench) -> None:
    """Its count was stated once and is ours; dropped from the intent, it would become 1."""
    orphan = live_deployment(5, ownerReferences=[], labels=OURS)
    bench.kubernetes.hold(DEPLOYMENT, orphan)

    await bench.ensure_deployment(intent("Deployment"))

    assert bench.counts() == [(REPLICAS_FIELD_MANAGER, 5), (FIELD_MANAGER, None)]


async def test_an_orphan_is_adopted_only_if_nobody_changed_it_meanwhile(bench: Bench) -> None:
    bench.kubernetes.hold(DEPLOYMENT, live_deployment(5, ownerReferences=[], labels=OURS))

    await bench.ensure_deployment(intent("Deployment"))

    handed_over, adopted = (item["metadata"]["resourceVersion"] for item in bench.kubernetes.written)
    assert handed_over == "10"
    assert adopted == "1001", "the version that the first write made"


async def test_a_deployment_comes_back_with_its_count_wherever_the_operator_is_cut_off(bench: Bench) -> None:
    """Stated by the first write, so that a new process finds it and hands it over."""
    bench.memory.replicas = 7

    await bench.ensure_deployment(intent("Deployment"), ReplicasPolicy(1, 5))

    assert bench.counts()[0] == (FIELD_MANAGER, 5)
    assert bench.counts()[-1] == (FIELD_MANAGER, None)


async def test_a_first_deployment_of_one_pod_is_one_write(bench: Bench) -> None:
    await bench.ensure_deployment(intent("Deployment"), ReplicasPolicy(1, 5))

    assert bench.counts() == [(FIELD_MANAGER, None)]


async def test_the_owners_of_the_key_secret_are_replaced_only_as_they_were_read(bench: Bench) -> None:
    bench.kubernetes.hold(SECRET, config_map("hello-api-keys", ownerReferences=[], labels=OURS))
    wanted = {"name": "hello-api-keys", "namespace": NAMESPACE, "labels": OURS, "ownerReferences": [REFERENCE]}

    await bench.api_keys.ensure(
        OWNER, {"kind": "Secret", "metadata": wanted}, bench.memory, live_owner=bench.live_owner()
    )

    (patch,) = bench.kubernetes.written
    assert patch["metadata"] == {
        "uid": "uid-of-hello-api-keys",
        "resourceVersion": "10",
        "ownerReferences": [REFERENCE],
    }


async def test_what_is_made_for_the_first_time_or_by_a_new_spec_is_no_news(bench: Bench) -> None:
    await bench.ensure_service(intent())
    await bench.ensure_service(intent())
    await bench.ensure_service(intent(spec={"port": 1}))

    assert bench.recorded.told() == []


async def test_a_child_that_was_lost_or_changed_is_news(bench: Bench) -> None:
    await bench.ensure_service(intent())
    bench.kubernetes.lose(SERVICE, NAMESPACE, "hello")
    bench.caches.children[SERVICE].forget(NAMESPACE, "hello")
    await bench.ensure_service(intent())
    edited = {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": "v1", "fieldsV1": {"f:spec": {}}}
    bench.caches.children[SERVICE].put({**live_service(5000, managedFields=[edited]), "spec": {}})
    await bench.ensure_service(intent())

    assert [each.note.split()[:2] for each in bench.recorded] == [["Service", "hello"]] * 2
    assert bench.recorded.told() == [("Warning", "ChildRecreated"), ("Warning", "ChildRepaired")]


async def test_a_child_that_was_not_wanted_meanwhile_comes_back_without_news(bench: Bench) -> None:
    await bench.ensure_service(intent())
    bench.memory.keep_settled(set())
    bench.kubernetes.lose(SERVICE, NAMESPACE, "hello")
    bench.caches.children[SERVICE].forget(NAMESPACE, "hello")

    await bench.ensure_service(intent())

    assert bench.recorded.told() == []


async def test_an_adoption_is_news(bench: Bench) -> None:
    bench.kubernetes.hold(SERVICE, live_service(ownerReferences=[], labels=OURS))

    await bench.ensure_service(intent())

    assert bench.recorded.told() == [("Normal", "ChildAdopted")]


async def test_a_new_key_is_news_and_its_value_is_not_told(bench: Bench) -> None:
    wanted = {"name": "hello-api-keys", "namespace": NAMESPACE, "labels": OURS, "ownerReferences": [REFERENCE]}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": wanted}
    for _ in range(2):
        await bench.ensure_secret(secret)
        bench.kubernetes.lose(SECRET, NAMESPACE, "hello-api-keys")
        bench.memory.keys_seen = (bench.memory.keys_seen or ("", 0.0))[0], 0.0  # long ago

    keys = [b64decode(item["data"]["default"]).decode() for item in bench.kubernetes.written]
    assert len(set(keys)) == 2
    assert not any(key in repr(bench.recorded) for key in keys)
    assert bench.recorded.told() == [("Normal", "APIKeyCreated"), ("Warning", "APIKeyReplaced")]


def key_secret(**annotations: str) -> Object:
    meta = {"name": "hello-api-keys", "namespace": NAMESPACE, "labels": OURS, "ownerReferences": [REFERENCE]}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {**meta, "annotations": annotations}}


async def test_a_rotation_is_one_write_in_which_the_server_moves_the_old_key(bench: Bench) -> None:
    bench.kubernetes.hold(SECRET, config_map("hello-api-keys", 10, labels=OURS, annotations={"note": "theirs"}))

    await bench.ensure_secret(key_secret(**{ROTATION: "2"}))

    assert bench.kubernetes.verbs()[:2] == ["get_metadata", "patch_json"]
    version, annotations, moved, new = bench.kubernetes.written[0]["operations"]
    assert version == {"op": "replace", "path": "/metadata/resourceVersion", "value": "10"}
    assert annotations["value"] == {"note": "theirs", ROTATION: "2"}
    assert moved == {"op": "copy", "from": "/data/default", "path": "/data/default.previous"}
    assert b64decode(new["value"]).startswith(b"asv_")
    assert bench.recorded.told() == [("Normal", "APIKeyRotated")]


@pytest.mark.parametrize("live", ["2", "3", "10"])
async def test_what_was_rotated_as_often_or_more_is_not_rotated(bench: Bench, live: str) -> None:
    bench.kubernetes.hold(SECRET, config_map("hello-api-keys", 10, labels=OURS, annotations={ROTATION: live}))

    await bench.ensure_secret(key_secret(**{ROTATION: "2"}))

    assert "patch_json" not in bench.kubernetes.verbs()
