"""The reflector on a real API server; tests/unit/kube has the servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from agentservice_operator.engine.kinds import CONFIG_MAP, SECRET, Kind
from agentservice_operator.engine.ports import Object
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.reflector import Reflector

from dev.cluster import Cluster
from tests.controlplane.connected import connected
from tests.unit.kube.eventually import eventually
from tests.unit.kube.recording_sink import RecordingSink

OURS = "app.kubernetes.io/managed-by=agentservice-operator"


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[KubeClient]:
    async with connected(cluster.kubeconfig) as client:
        yield client


@asynccontextmanager
async def following(client: KubeClient, kind: Kind, *namespaces: str, **options: Any) -> AsyncIterator[RecordingSink]:
    """Follow a kind from when it is in step."""
    sink = RecordingSink()
    reflector = Reflector(client, kind, namespaces or None, sink, **options)
    task = asyncio.create_task(reflector.run())
    try:
        await asyncio.wait_for(reflector.synced.wait(), 20)
        yield sink
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait([task])


def config_map(namespace: str, name: str, *, ours: bool = True, **body: Any) -> Object:
    labels = dict([OURS.split("=")]) if ours else {}
    metadata = {"namespace": namespace, "name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **body}


async def test_sees_what_is_there_and_what_becomes_of_it(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    path = cluster.api.path_of(cluster.api.create(config_map(namespace, "first")))

    async with following(client, CONFIG_MAP, namespace, label_selector=OURS) as sink:
        assert sink.names == ["first"]

        cluster.api.create(config_map(namespace, "second"))
        await eventually(lambda: sink.names == ["first", "second"], lambda: sink.calls)

        cluster.api.patch(path, {"data": {"a": "1"}})
        await eventually(lambda: sink.state[namespace, "first"].get("data") == {"a": "1"}, lambda: sink.calls)

        cluster.api.delete(path)
        await eventually(lambda: sink.names == ["second"], lambda: sink.calls)

        assert sink.calls[1:] == [("put", "second"), ("put", "first"), ("remove", "first")]
        assert {(item["apiVersion"], item["kind"]) for item in sink.state.values()} == {("v1", "ConfigMap")}


async def test_object_that_loses_the_label_is_gone(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    path = cluster.api.path_of(cluster.api.create(config_map(namespace, "x")))
    cluster.api.create(config_map(namespace, "foreign", ours=False))

    async with following(client, CONFIG_MAP, namespace, label_selector=OURS) as sink:
        assert sink.names == ["x"]

        cluster.api.patch(path, {"metadata": {"labels": {OURS.split("=", maxsplit=1)[0]: None}}})

        await eventually(lambda: sink.names == [], lambda: sink.calls)


async def test_several_lists_and_watches_agree_and_lose_nothing(
    client: KubeClient, cluster: Cluster, namespace: str
) -> None:
    """Objects come and go while the reflector lists again every fifth of a second."""
    async with following(client, CONFIG_MAP, namespace, label_selector=OURS, relist_every=0.2) as sink:
        for number in range(40):
            path = cluster.api.path_of(cluster.api.create(config_map(namespace, f"x-{number}")))
            if number % 2:
                cluster.api.delete(path)
            await asyncio.sleep(0)

        expected = sorted(f"x-{number}" for number in range(0, 40, 2))
        await eventually(lambda: sink.names == expected, lambda: sink.calls)
        relisted = sink.count("end_list")
        await eventually(lambda: sink.count("end_list") > relisted + 1, lambda: sink.calls)
        assert sink.names == expected


async def test_metadata_only_brings_no_content(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    secret = config_map(namespace, "x", stringData={"key": "fake"}) | {"kind": "Secret"}
    cluster.api.create(secret)

    async with following(client, SECRET, namespace, metadata_only=True) as sink:
        secret["metadata"]["name"] = "y"
        cluster.api.create(secret)
        await eventually(lambda: sink.names == ["x", "y"], lambda: sink.calls)

        for item in sink.state.values():
            assert set(item) == {"apiVersion", "kind", "metadata"}
            assert item["kind"] == "Secret"


async def test_each_namespace_is_followed_on_its_own(client: KubeClient, cluster: Cluster, namespace: str) -> None:
    cluster.api.create(config_map(namespace, "here"))
    elsewhere = config_map("default", f"elsewhere-{namespace}"[:63].strip("-"))
    path = cluster.api.path_of(cluster.api.create(elsewhere))
    try:
        async with following(client, CONFIG_MAP, namespace, "default", label_selector=OURS) as sink:
            assert (namespace, "here") in sink.state
            assert ("default", elsewhere["metadata"]["name"]) in sink.state
            assert sink.count("end_list") == 2
    finally:
        cluster.api.delete(path)


async def test_more_than_a_page_arrives_whole(client: KubeClient, namespace: str) -> None:
    names = [f"x-{number}" for number in range(501)]
    bodies = (config_map(namespace, name) for name in names)
    await asyncio.gather(*(client.create(CONFIG_MAP, body, manager="test") for body in bodies))

    async with following(client, CONFIG_MAP, namespace, label_selector=OURS) as sink:
        assert sink.names == sorted(names)
        assert {item["kind"] for item in sink.state.values()} == {"ConfigMap"}


async def test_kind_whose_definition_comes_later_and_goes_again(
    client: KubeClient, cluster: Cluster, namespace: str
) -> None:
    group = f"{namespace[-8:]}.test.agentservice.dev"
    kind = Kind("Later", f"x{group}", "v1", "laters")
    names = {"kind": "Later", "listKind": "LaterList", "plural": "laters", "singular": "later"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"laters.{kind.group}"},
        "spec": {"group": kind.group, "scope": "Namespaced", "names": names, "versions": [version]},
    }
    body = {"apiVersion": kind.api_version, "kind": "Later", "metadata": {"name": "x", "namespace": namespace}}

    async with following(client, kind, namespace, ask_absent_every=0.2) as sink:
        path = cluster.api.path_of(cluster.api.create(definition))
        try:
            async with asyncio.timeout(30):
                while await client.get(kind, namespace, "x") is None:
                    try:
                        cluster.api.create(body)
                    except (LookupError, RuntimeError):  # not established yet
                        await asyncio.sleep(0.1)
            await eventually(lambda: sink.names == ["x"], lambda: sink.calls)
        finally:
            cluster.api.delete(path)
        await eventually(lambda: sink.names == [], lambda: sink.calls, within=30)
