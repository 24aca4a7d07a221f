"""JSON from the API server, which anybody who may write an object has a hand in."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from agentservice_operator.engine.kinds import CONFIG_MAP
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.decoding import DEEPEST, decode
from aiohttp import web

from tests.unit.kube.eventually import eventually
from tests.unit.kube.scripted_server import ScriptedServer, answers, streams
from tests.unit.kube.test_reflector import following, item


def nested(levels: int) -> bytes:
    return b'{"f:a":' * levels + b"{}" + b"}" * levels


def test_what_the_parser_takes_is_left_alone() -> None:
    text = nested(DEEPEST + 100)

    assert orjson.dumps(decode(b'{"deep": [%s]}' % nested(5))) == b'{"deep":[%s]}' % nested(5)
    assert decode(text) == orjson.loads(text)


@pytest.mark.parametrize("levels", [1_100, 9_990])
def test_what_is_nested_too_deeply_is_cut_and_the_rest_is_read(levels: int) -> None:
    text = b'{"before": "}]\\"[{", "deep": %s, "after": [[1], "\\\\"]}' % nested(levels)

    found = decode(text)

    assert (found["before"], found["after"]) == ('}]"[{', [[1], "\\"])
    assert depth(found["deep"]) < DEEPEST


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        decode(b'{"a": ')


@pytest.mark.parametrize("levels", [300, 5_000])
async def test_a_deep_object_hides_no_other_of_its_kind(
    client: KubeClient, server: ScriptedServer, levels: int
) -> None:
    text = b'{"metadata":{"resourceVersion":"5","continue":"more"},"items":[%s]}' % orjson.dumps(
        item("deep", 3, data=0)
    )

    async def deep_page(_: web.Request) -> web.Response:
        return web.Response(
            body=text.replace(b'"data":0', b'"data":' + nested(levels)), content_type="application/json"
        )

    server.script = [deep_page, answers({"metadata": {"resourceVersion": "5"}, "items": [item("plain", 4)]})]
    server.watches = [streams(then="hang")]

    async with following(client, kind=CONFIG_MAP) as (_, sink):
        await eventually(lambda: sink.names == ["deep", "plain"], lambda: sink.calls)


def depth(value: Any) -> int:
    levels = 0
    while isinstance(value, dict):
        value, levels = value.get("f:a"), levels + 1
    return levels
