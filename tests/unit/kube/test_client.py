"""The client against an API server that misbehaves on purpose; the good paths run on a real one."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from agentservice_operator.engine.kinds import CONFIG_MAP, SECRET
from agentservice_operator.engine.ports import AlreadyExists, KubernetesError, NotLeader
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.transport import CONCURRENCY, Request
from aiohttp import web
from kubernetes.aio.client import ApiClient

from tests.unit.kube.eventually import eventually
from tests.unit.kube.scripted_server import ScriptedServer, answers, hangs_up, refuses

LIVE = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": "b"}}


async def test_apply_sends_the_intent_as_it_is(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [answers(LIVE)]
    intent = {**LIVE, "data": {"word": "grün"}}

    await client.apply(CONFIG_MAP, intent, manager="me")

    (asked,) = server.asked
    assert (asked.method, asked.path) == ("PATCH", "/api/v1/namespaces/a/configmaps/b")
    assert asked.query == {"fieldManager": "me", "force": "true"}
    assert asked.headers["Content-Type"].startswith("application/apply-patch+yaml")
    assert orjson.loads(asked.body) == intent


async def test_apply_survives_a_lost_answer(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [hangs_up(), refuses(503), answers(LIVE)]

    assert await client.apply(CONFIG_MAP, LIVE, manager="me") == LIVE
    assert len(server.asked) == 3


async def test_create_whose_answer_was_lost_reports_that_the_object_is_there(
    client: KubeClient, server: ScriptedServer
) -> None:
    server.script = [hangs_up(), refuses(409, "AlreadyExists")]

    with pytest.raises(AlreadyExists):
        await client.create(SECRET, {"metadata": {"namespace": "a", "name": "b"}}, manager="me")


async def test_delete_of_what_is_gone_or_replaced_is_done(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [refuses(404, "NotFound"), refuses(409, "Conflict")]

    await client.delete(CONFIG_MAP, "a", "b", uid="1")
    await client.delete(CONFIG_MAP, "a", "b", uid="1")

    assert orjson.loads(server.asked[0].body)["preconditions"] == {"uid": "1"}


async def test_gate_is_asked_before_each_write_and_each_repetition(
    api_client: ApiClient, server: ScriptedServer
) -> None:
    asked = 0

    def leads_only_once() -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            raise NotLeader("lost")

    client = KubeClient(api_client, before_write=leads_only_once)
    server.script = [refuses(500), answers(LIVE)]

    with pytest.raises(NotLeader):
        await client.apply(CONFIG_MAP, LIVE, manager="me")

    assert len(server.asked) == 1


async def test_reads_need_no_leadership(api_client: ApiClient, server: ScriptedServer) -> None:
    def never() -> None:
        raise NotLeader("no")

    server.script = [answers(LIVE)]

    assert await KubeClient(api_client, before_write=never).get(CONFIG_MAP, "a", "b") == LIVE


async def test_every_answer_is_counted_and_so_is_silence(api_client: ApiClient, server: ScriptedServer) -> None:
    counted: list[tuple[str, str, str]] = []
    client = KubeClient(api_client, on_request=lambda *request: counted.append(request))
    server.script = [hangs_up(), refuses(503), answers(LIVE)]

    await client.apply(CONFIG_MAP, LIVE, manager="me")

    assert counted == [("apply", "ConfigMap", status) for status in ("<error>", "503", "200")]


async def test_secret_is_read_without_its_values(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [answers({"kind": "PartialObjectMetadata", "metadata": {"name": "b"}})]

    found = await client.get_metadata(SECRET, "a", "b")

    assert "as=PartialObjectMetadata" in server.asked[0].headers["Accept"]
    assert found == {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}}


async def test_list_reads_all_pages(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [
        answers({"metadata": {"resourceVersion": "5", "continue": "next"}, "items": [{"metadata": {"name": "a"}}]}),
        answers({"metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "b"}}]}),
    ]

    found = await client.list(CONFIG_MAP, None, label_selector="app in (x,y)")

    assert [item["metadata"]["name"] for item in found] == ["a", "b"]
    assert all(item["kind"] == "ConfigMap" and item["apiVersion"] == "v1" for item in found)
    assert [asked.query.get("continue") for asked in server.asked] == [None, "next"]
    assert all(asked.query["labelSelector"] == "app in (x,y)" for asked in server.asked)


async def test_silent_server_costs_one_timeout(client: KubeClient, server: ScriptedServer) -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    server.script = [never]

    with pytest.raises(KubernetesError, match=r"no answer: .*[Tt]imeout"):
        await client.transport.send(Request("get", "ConfigMap", "GET", "/api/v1"), within=0.05)


async def test_burst_of_requests_is_held_back_but_not_the_lease(client: KubeClient, server: ScriptedServer) -> None:
    release = asyncio.Event()

    async def waits(request: web.Request) -> web.StreamResponse:
        if request.path != "/lease":
            await release.wait()
        return await answers(LIVE)(request)

    server.script = [waits]
    burst = [
        asyncio.create_task(client.transport.send(Request("get", "ConfigMap", "GET", "/api/v1")))
        for _ in range(2 * CONCURRENCY)
    ]
    await eventually(lambda: len(server.asked) == CONCURRENCY, lambda: len(server.asked))
    async with asyncio.timeout(5):
        await client.transport.send(Request("update", "Lease", "PUT", "/lease", body={}), queued=False)

    assert len(server.asked) == CONCURRENCY + 1
    release.set()
    await asyncio.gather(*burst)
    assert len(server.asked) == 2 * CONCURRENCY + 1
