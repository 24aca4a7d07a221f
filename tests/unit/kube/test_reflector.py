"""The reflector against an API server that stalls, forgets, cuts and loses; the good paths run on a real one."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

from agentservice_operator.engine.kinds import CONFIG_MAP, DEPLOYMENT
from agentservice_operator.engine.ports import Object
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.reflector import Reflector, _lines
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.kube.eventually import eventually
from tests.unit.kube.recording_sink import RecordingSink
from tests.unit.kube.scripted_server import ScriptedServer, answers, hangs_up, refuses, streams

LEAST_OF_THREE_BACKOFFS = 0.5 * (0.2 + 0.4 + 0.8)


def item(name: str, version: int, **more: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "a", "resourceVersion": str(version)}, **more}


def listed(version: int, *items: Object, **metadata: str) -> Any:
    return answers({"metadata": {"resourceVersion": str(version), **metadata}, "items": list(items)})


def event(kind: str, name: str, version: int, **more: Any) -> Object:
    return {"type": kind, "object": item(name, version, **more)}


def gone() -> Object:
    return {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


@asynccontextmanager
async def following(client: KubeClient, **options: Any) -> AsyncIterator[tuple[Reflector, RecordingSink]]:
    sink: RecordingSink = options.pop("sink", None) or RecordingSink()
    reflector = Reflector(client, options.pop("kind", CONFIG_MAP), options.pop("namespaces", None), sink, **options)
    task = asyncio.create_task(reflector.run())
    try:
        yield reflector, sink
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_watch_starts_where_the_list_ended(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5, item("x", 3))]
    server.watches = [streams(event("ADDED", "y", 6), event("DELETED", "x", 7), then="hang")]

    async with following(client) as (reflector, sink):
        await eventually(lambda: sink.names == ["y"], lambda: sink.calls)

    assert reflector.synced.is_set()
    assert sink.calls == [("end_list", "5"), ("put", "y"), ("remove", "x")]
    assert server.asked[1].query["resourceVersion"] == "5"
    assert server.asked[1].query["allowWatchBookmarks"] == "true"


async def test_watch_that_ended_is_resumed_where_it_was(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5)]
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
    server.watches = [streams(event("ADDED", "x", 6), bookmark), streams(then="hang")]

    async with following(client):
        await eventually(lambda: server.count(watch=True) == 2, lambda: server.asked)

    assert server.asked[-1].query["resourceVersion"] == "9"
    assert server.count(watch=False) == 1


async def test_connection_cut_inside_an_event_loses_nothing(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5)]
    server.watches = [streams(event("ADDED", "x", 6), then="cut"), streams(event("ADDED", "y", 7), then="hang")]

    async with following(client) as (_, sink):
        await eventually(lambda: sink.names == ["x", "y"], lambda: sink.calls)

    assert server.asked[-1].query["resourceVersion"] == "6"
    assert sink.count("end_list") == 1


async def test_silent_watch_is_given_up_and_resumed(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5)]
    server.watches = [streams(event("ADDED", "x", 6), then="hang"), streams(event("ADDED", "y", 7), then="hang")]

    async with following(client, stalled_after=0.2) as (_, sink):
        await eventually(lambda: sink.names == ["x", "y"], lambda: sink.calls)

    assert server.asked[2].query["resourceVersion"] == "6"


async def test_forgotten_version_inside_the_watch_lists_again(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5, item("x", 3)), listed(50, item("y", 40))]
    server.watches = [streams(gone()), streams(then="hang")]

    async with following(client) as (_, sink):
        await eventually(lambda: sink.names == ["y"], lambda: sink.calls)
        await eventually(lambda: server.count(watch=True) == 2, lambda: server.asked)

    assert server.asked[-1].query["resourceVersion"] == "50"


async def test_forgotten_version_before_the_watch_lists_again(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5, item("x", 3)), listed(50)]
    server.watches = [refuses(410, "Expired"), streams(then="hang")]

    async with following(client) as (_, sink):
        await eventually(lambda: sink.count("end_list") == 2, lambda: sink.calls)

    assert sink.names == []


async def test_lost_deletion_is_healed_by_the_next_list(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5, item("lost", 3)), listed(9)]
    server.watches = [streams(then="hang")]

    async with following(client, relist_every=0.3, stalled_after=0.1) as (_, sink):
        await eventually(lambda: sink.count("end_list") > 1, lambda: sink.calls)

    assert sink.names == []


async def test_event_of_two_mebibytes_arrives(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5)]
    server.watches = [
        streams(event("ADDED", "big", 6, data={"text": "x" * 2**21}), event("ADDED", "y", 7), then="hang")
    ]

    async with following(client) as (_, sink):
        await eventually(lambda: sink.names == ["big", "y"], lambda: list(sink.calls))


async def test_without_a_watch_it_only_lists(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5, item("x", 3)), listed(9, item("y", 7))]

    async with following(client, watch=False, relist_every=0.2) as (_, sink):
        await eventually(lambda: sink.names == ["y"], lambda: sink.calls)

    assert server.count(watch=True) == 0


@given(st.lists(st.binary(min_size=1).filter(lambda line: b"\n" not in line)), st.lists(st.integers(0, 200)))
async def test_events_are_read_wherever_their_bytes_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    sent = b"".join(line + b"\n" for line in lines) + b"cut off"
    ends = [*sorted(cuts), len(sent)]

    async def chunks() -> AsyncIterator[bytes]:
        for begin, end in pairwise([0, *ends]):
            yield sent[begin:end]

    assert [line async for line in _lines(chunks())] == lines


async def test_objects_name_their_kind_though_lists_leave_it_out(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5, item("x", 3), **{"continue": "next"}), listed(5, item("y", 4))]
    server.watches = [streams(event("ADDED", "z", 6), then="hang")]

    async with following(client, kind=DEPLOYMENT) as (_, sink):
        await eventually(lambda: sink.names == ["x", "y", "z"], lambda: sink.calls)

    assert {(each["apiVersion"], each["kind"]) for each in sink.state.values()} == {("apps/v1", "Deployment")}


async def test_a_page_of_a_list_is_no_longer_held_as_objects_when_the_next_one_is_asked_for(
    client: KubeClient, server: ScriptedServer
) -> None:
    class Forgetful(RecordingSink):
        def put_listed(self, item: Object) -> None:
            assert item["spec"] == spec

    spec, held = {"made": "for this test"}, list[int]()

    def page(number: int, **metadata: str) -> Any:
        answer = listed(5, *({**item(f"x{number}{each}", 3), "spec": spec} for each in range(3)), **metadata)

        async def counting(request: Any) -> Any:
            alive = [each for each in gc.get_objects() if type(each) is dict and each.get("spec") == spec]
            held.append(sum(each["spec"] is not spec for each in alive))
            return await answer(request)

        return counting

    server.script = [page(1, **{"continue": "2"}), page(2, **{"continue": "3"}), page(3)]
    server.watches = [streams(then="hang")]

    async with following(client, sink=Forgetful()) as (_, sink):
        await eventually(lambda: sink.count("end_list") == 1, lambda: sink.calls)

    assert held == [0, 0, 0]


async def test_kind_that_is_lacking_counts_as_empty_until_it_appears(
    client: KubeClient, server: ScriptedServer
) -> None:
    server.script = [refuses(404), refuses(404), listed(5, item("x", 3))]
    server.watches = [streams(then="hang")]

    async with following(client, ask_absent_every=0.05) as (reflector, sink):
        await asyncio.wait_for(reflector.synced.wait(), 5)
        assert sink.names == []
        await eventually(lambda: sink.names == ["x"], lambda: sink.calls)


async def test_optional_kind_is_told_of_as_it_comes_and_goes(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [refuses(404), listed(5, item("x", 3)), refuses(404)]
    server.watches = [refuses(404)]
    told: list[bool] = []

    async with following(client, on_served=told.append, ask_absent_every=0.05) as (_, sink):
        await eventually(lambda: told[:3] == [False, True, False], lambda: told)
        await eventually(lambda: sink.names == [], lambda: sink.calls)

    assert ("end_list", "5") in sink.calls


async def test_optional_kind_that_may_not_be_read_counts_as_lacking(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [refuses(403), listed(5, item("x", 3))]
    server.watches = [streams(then="hang")]
    told: list[bool] = []

    async with following(client, on_served=told.append, ask_absent_every=0.05) as (_, sink):
        await eventually(lambda: sink.names == ["x"], lambda: sink.calls)

    assert told == [False, True]


async def test_optional_kind_is_there_where_one_namespace_lets_it_be_read(
    client: KubeClient, server: ScriptedServer
) -> None:
    async def only_one(request: Any) -> Any:
        return await (listed(5, item("x", 3)) if "/namespaces/a/" in request.path else refuses(403))(request)

    server.script = [only_one]
    server.watches = [streams(then="hang")]
    told: list[bool] = []

    async with following(client, namespaces=["a", "b"], on_served=told.append) as (reflector, sink):
        await asyncio.wait_for(reflector.synced.wait(), 5)

        assert sink.names == ["x"]
        assert told[-1]


async def test_nobody_waits_for_an_optional_kind_that_cannot_be_listed(
    client: KubeClient, server: ScriptedServer
) -> None:
    """As where a webhook that converts its objects is down."""
    server.script = [refuses(400)]
    told: list[bool] = []

    async with following(client, on_served=told.append) as (reflector, _):
        await asyncio.wait_for(reflector.synced.wait(), 5)

    assert told == []


async def test_is_in_step_only_when_every_namespace_was_listed(client: KubeClient, server: ScriptedServer) -> None:
    async def only_one(request: Any) -> Any:
        return await (listed(5, item("x", 3)) if "/namespaces/a/" in request.path else refuses(403))(request)

    server.script = [only_one]
    server.watches = [streams(then="hang")]

    async with following(client, namespaces=["a", "b"]) as (reflector, sink):
        await eventually(lambda: sink.names == ["x"], lambda: sink.calls)
        await eventually(lambda: server.count(watch=False) > 2, lambda: server.asked)

        assert not reflector.synced.is_set()


async def test_list_that_fails_is_tried_again_ever_more_seldom(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [refuses(403), refuses(403), refuses(403), listed(5, item("x", 3))]
    server.watches = [streams(then="hang")]
    began = time.monotonic()

    async with following(client) as (_, sink):
        await eventually(lambda: sink.names == ["x"], lambda: sink.calls)

    assert time.monotonic() - began >= LEAST_OF_THREE_BACKOFFS


async def test_server_that_ends_every_watch_at_once_is_not_flooded(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5)]
    server.watches = [streams()]
    began = time.monotonic()

    async with following(client) as (_, sink):
        await eventually(lambda: server.count(watch=True) == 4, lambda: sink.calls)

    assert time.monotonic() - began >= LEAST_OF_THREE_BACKOFFS


async def test_defect_in_the_sink_does_not_end_the_reflector(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5, item("x", 3))]
    server.watches = [streams(event("ADDED", "y", 6), then="hang")]
    sink = RecordingSink()
    put = sink.put

    def fails_once(item: Object) -> None:
        sink.put = put  # type: ignore[method-assign] # restores the method
        raise RuntimeError(f"a defect met {item['metadata']['name']}")

    sink.put = fails_once  # type: ignore[method-assign] # what the test is about
    task = asyncio.create_task(Reflector(client, CONFIG_MAP, None, sink).run())

    await eventually(lambda: sink.names == ["x", "y"], lambda: sink.calls)

    task.cancel()
    await asyncio.wait([task])
    assert sink.count("end_list") == 2


async def test_metadata_only_asks_for_no_content(client: KubeClient, server: ScriptedServer) -> None:
    server.script = [listed(5)]
    server.watches = [hangs_up(), streams(then="hang")]

    async with following(client, metadata_only=True, label_selector="a=b"):
        await eventually(lambda: server.count(watch=True) == 2, lambda: server.asked)

    assert "as=PartialObjectMetadataList" in server.asked[0].headers["Accept"]
    assert "as=PartialObjectMetadata;" in server.asked[1].headers["Accept"]
    assert {asked.query["labelSelector"] for asked in server.asked} == {"a=b"}
