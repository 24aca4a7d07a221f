"""The operator's client against a real API server: what it does, and how each refusal is understood."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agentservice_operator.engine.kinds import AGENT_SERVICE, CHILDREN, CONFIG_MAP, DEPLOYMENT, SECRET, Kind
from agentservice_operator.engine.ports import AlreadyExists, Conflict, Forbidden, Object, Rejected
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.discovery import available, server_version
from agentservice_operator.kube.errors import NotFound
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.connected import connected

ME = "agentservice-operator"
ANOTHER_UID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with connected(cluster.kubeconfig) as client:
        yield client


def config_map(namespace: str, name: str = "x", **body: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}, **body}


def secret(namespace: str) -> Object:
    return config_map(namespace, data={"key": "dGVzdA=="}) | {"kind": "Secret"}


def deployment(namespace: str, *, app: str = "hello", **spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "agent", "image": "x"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": "hello"},
        "spec": {"selector": {"matchLabels": {"app": app}}, "template": template, **spec},
    }


async def test_apply_makes_then_changes_then_leaves_alone(client: KubeClient, namespace: str) -> None:
    made = await client.apply(CONFIG_MAP, config_map(namespace, data={"a": "1", "b": "2"}), manager=ME)
    changed = await client.apply(CONFIG_MAP, config_map(namespace, data={"a": "3"}), manager=ME)
    same = await client.apply(CONFIG_MAP, config_map(namespace, data={"a": "3"}), manager=ME)

    assert made["data"] == {"a": "1", "b": "2"}
    assert changed["data"] == {"a": "3"}
    assert same["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


KEYS = st.text("abcXYZ019._-", min_size=1, max_size=8).filter(lambda key: key != "." and not key.startswith(".."))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(KEYS, st.text(max_size=8), min_size=1, max_size=5))
@example(data={"a": "\x7f\x85\x9f\u2028\u2029\ufeff\ufffe\uffff \U0001f600 \t\n\r\0", "b": "- yaml: [", "c": "\\u0041"})
async def test_text_arrives_unchanged_whatever_is_in_it(
    client: KubeClient, namespace: str, data: dict[str, str]
) -> None:
    """A prompt may hold any character, and the API server reads an apply as YAML."""
    live = await client.apply(CONFIG_MAP, config_map(namespace, data=data), manager=ME)

    assert live["data"] == data


async def test_absent_object_and_absent_kind_read_as_nothing(client: KubeClient, namespace: str) -> None:
    assert await client.get(CONFIG_MAP, namespace, "nope") is None
    assert await client.get_metadata(SECRET, namespace, "nope") is None
    assert await client.get(Kind("Nope", "nope.example.com", "v1", "nopes"), namespace, "x") is None


async def test_secret_values_never_travel(client: KubeClient, namespace: str) -> None:
    created = await client.create(SECRET, secret(namespace), manager=ME)
    read = await client.get_metadata(SECRET, namespace, "x")
    patched = await client.patch_metadata(SECRET, namespace, "x", {"metadata": {"labels": {"a": "b"}}}, manager=ME)

    assert read is not None
    for answer in (created, read, patched):
        assert set(answer) == {"apiVersion", "kind", "metadata"}
        assert answer["kind"] == "Secret"
    assert patched["metadata"]["labels"] == {"a": "b"}


async def test_second_create_meets_the_first(client: KubeClient, namespace: str) -> None:
    await client.create(SECRET, secret(namespace), manager=ME)

    with pytest.raises(AlreadyExists, match='secrets "x" already exists'):
        await client.create(SECRET, secret(namespace), manager=ME)


async def test_list_reads_more_than_a_page(client: KubeClient, namespace: str) -> None:
    labels = {"labels": {"page": "many"}}
    bodies = [config_map(namespace, f"x-{number}") for number in range(501)]
    for body in bodies:
        body["metadata"] |= labels
    await asyncio.gather(*(client.create(CONFIG_MAP, body, manager=ME) for body in bodies))

    found = await client.list(CONFIG_MAP, namespace, label_selector="page=many")

    assert {item["metadata"]["name"] for item in found} == {body["metadata"]["name"] for body in bodies}
    assert {(item["apiVersion"], item["kind"]) for item in found} == {("v1", "ConfigMap")}


async def test_unforced_apply_meets_the_other_owner(client: KubeClient, namespace: str) -> None:
    await client.apply(CONFIG_MAP, config_map(namespace, data={"a": "1"}), manager="somebody")

    with pytest.raises(Conflict, match=r'conflict with "somebody": \.data\.a'):
        await client.apply(CONFIG_MAP, config_map(namespace, data={"a": "2"}), manager=ME, force=False)

    taken = await client.apply(CONFIG_MAP, config_map(namespace, data={"a": "2"}), manager=ME)
    assert taken["data"] == {"a": "2"}


async def test_patch_for_another_uid_changes_nothing(client: KubeClient, namespace: str) -> None:
    made = await client.apply(CONFIG_MAP, config_map(namespace), manager=ME)
    patch: Object = {"metadata": {"labels": {"a": "b"}, "uid": ANOTHER_UID}}

    with pytest.raises(Conflict):
        await client.patch_metadata(CONFIG_MAP, namespace, "x", patch, manager=ME)

    patch["metadata"]["uid"] = made["metadata"]["uid"]
    patched = await client.patch_metadata(CONFIG_MAP, namespace, "x", patch, manager=ME)
    assert patched["metadata"]["labels"] == {"a": "b"}


async def test_delete_for_another_uid_deletes_nothing(client: KubeClient, namespace: str) -> None:
    made = await client.apply(CONFIG_MAP, config_map(namespace), manager=ME)

    await client.delete(CONFIG_MAP, namespace, "x", uid=ANOTHER_UID)
    assert await client.get(CONFIG_MAP, namespace, "x") is not None

    await client.delete(CONFIG_MAP, namespace, "x", uid=made["metadata"]["uid"])
    assert await client.get(CONFIG_MAP, namespace, "x") is None
    await client.delete(CONFIG_MAP, namespace, "x", uid=made["metadata"]["uid"])


async def test_immutable_selector_is_rejected_by_name(client: KubeClient, namespace: str) -> None:
    await client.apply(DEPLOYMENT, deployment(namespace, app="one"), manager=ME)

    with pytest.raises(Rejected, match=r'"hello" is invalid: spec.selector: .*field is immutable'):
        await client.apply(DEPLOYMENT, deployment(namespace, app="two"), manager=ME)


async def test_value_of_a_wrong_type_is_rejected(client: KubeClient, namespace: str) -> None:
    with pytest.raises(Rejected, match=r"\.spec\.replicas"):
        await client.apply(DEPLOYMENT, deployment(namespace, replicas="many"), manager=ME)


async def test_exhausted_quota_is_told_apart(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    quota = config_map(namespace) | {"kind": "ResourceQuota", "spec": {"hard": {"count/secrets": "0"}}}
    path = cluster.api.path_of(cluster.api.create(quota))
    wait_until(lambda: cluster.api.get(path).get("status"), deadline=20, describe=lambda: cluster.api.get(path))

    with pytest.raises(Forbidden, match="exceeded quota") as raised:
        await client.create(SECRET, secret(namespace), manager=ME)

    assert raised.value.quota


async def test_terminating_namespace_is_told_apart(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    holds = config_map(namespace)
    holds["metadata"]["finalizers"] = ["test.agentservice.dev/hold"]
    path = cluster.api.path_of(cluster.api.create(holds))
    cluster.api.delete(f"/api/v1/namespaces/{namespace}")
    try:
        with pytest.raises(Forbidden, match="being terminated") as raised:
            await client.apply(DEPLOYMENT, deployment(namespace), manager=ME)
    finally:
        cluster.api.patch(path, {"metadata": {"finalizers": None}})

    assert raised.value.terminating


async def test_missing_namespace_is_not_found(client: KubeClient) -> None:
    with pytest.raises(NotFound, match='namespaces "no-such-namespace" not found'):
        await client.create(CONFIG_MAP, config_map("no-such-namespace"), manager=ME)


async def test_missing_permission_may_pass(cluster: Cluster, namespace: str) -> None:
    cluster.api.create(config_map(namespace, "nobody") | {"kind": "ServiceAccount"})

    async with connected(cluster.service_account_kubeconfig(namespace, "nobody")) as nobody:
        with pytest.raises(Forbidden, match='cannot patch resource "configmaps"') as raised:
            await nobody.apply(CONFIG_MAP, config_map(namespace), manager=ME)

    assert not raised.value.quota
    assert not raised.value.terminating


@pytest.mark.parametrize("reason", ["Invalid", "Forbidden"])
async def test_denial_by_admission_policy_is_about_the_object(
    client: KubeClient, cluster: Cluster, namespace: str, reason: str
) -> None:
    name = f"{namespace}-denies"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "not here", "reason": reason}],
        },
    }
    only_here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = policy | {
        "kind": "ValidatingAdmissionPolicyBinding",
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": only_here},
    }
    paths = [cluster.api.path_of(cluster.api.create(body)) for body in (policy, binding)]
    try:
        rejection = await first_rejection(client, namespace)
    finally:
        for path in paths:
            cluster.api.delete(path)

    assert "not here" in str(rejection)


async def first_rejection(client: KubeClient, namespace: str) -> Rejected:
    """Create until the API server has read its policies, which takes it a second or two."""
    async with asyncio.timeout(30):
        for number in range(10_000):
            try:
                await client.create(CONFIG_MAP, config_map(namespace, f"x-{number}"), manager=ME)
            except Rejected as rejection:
                return rejection
    raise AssertionError("never rejected")


async def test_status_is_applied_apart_from_the_object(client: KubeClient, namespace: str) -> None:
    made = await client.apply(DEPLOYMENT, deployment(namespace), manager=ME)
    status = config_map(namespace, "hello") | {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "status": {"collisionCount": 7},
    }

    answer = await client.apply_status(DEPLOYMENT, status, manager="status")

    assert answer["status"]["collisionCount"] == 7
    assert answer["metadata"]["generation"] == made["metadata"]["generation"]


async def test_discovery_knows_what_the_server_has(client: KubeClient) -> None:
    nope = Kind("Nope", "nope.example.com", "v1", "nopes")

    found = await available(client, [*CHILDREN, nope])

    assert found == frozenset(CHILDREN)
    version = await server_version(client)
    assert (version.major, version.minor) >= (1, 34)
    assert version.git.startswith(f"v{version.major}.{version.minor}.")


@pytest.mark.usefixtures("crd")
async def test_agent_service_is_discovered_once_its_definition_is_there(client: KubeClient) -> None:
    assert await available(client, [AGENT_SERVICE]) == {AGENT_SERVICE}
