"""What the provider's events say, from their bytes."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import orjson
import pytest

from agent_runtime.agent.model import (
    Block,
    BlockDone,
    BlockStarted,
    Completed,
    Message,
    ModelCallError,
    ModelEvent,
    ModelRequest,
    TextDelta,
)
from agent_runtime.agent.providers.anthropic import AnthropicProvider
from agent_runtime.agent.providers.messages_stream import MessagesStream
from agent_runtime.api.errors import UPSTREAM_INTERRUPTED
from agent_runtime.config import AnthropicProvider as AnthropicConfig
from dev.fake_messages_api import FakeMessagesApi

CITATION = {"type": "web_search_result_location", "url": "https://example.com", "title": "Example", "cited_text": "42"}


def read(*events: dict[str, Any]) -> list[ModelEvent]:
    """What a stream makes of events that come byte by byte."""
    stream = MessagesStream()
    raw = b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events)
    return [told for i in range(len(raw)) for told in stream.read(raw[i : i + 1])]


def block(start: Block, *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of one block."""
    return [
        {"type": "content_block_start", "index": 0, "content_block": start},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
    ]


def end(stop_reason: str) -> list[dict[str, Any]]:
    """The events of an answer's end."""
    return [
        {"type": "message_start", "message": {"model": "claude-sonnet-5-5", "usage": {"input_tokens": 1}}},
        {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]


def piece(kind: str, field: str, value: object) -> dict[str, Any]:
    return {"type": kind, field: value}


@pytest.mark.parametrize(
    ("events", "whole"),
    [
        (
            block(
                {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
                piece("input_json_delta", "partial_json", '{"ci'),
                piece("input_json_delta", "partial_json", 'ty": "Köln"}'),
            ),
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Köln"}},
        ),
        (
            block({"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}),
            {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}},
        ),
        (
            block(
                {"type": "thinking", "thinking": "", "signature": ""},
                piece("thinking_delta", "thinking", "One, "),
                piece("thinking_delta", "thinking", "two."),
                piece("signature_delta", "signature", "c2ln"),
            ),
            {"type": "thinking", "thinking": "One, two.", "signature": "c2ln"},
        ),
        (
            block({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "https://a"}]}),
            {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [{"url": "https://a"}]},
        ),
    ],
    ids=["a call", "a call without input", "thinking", "a result of the provider"],
)
def test_a_block_is_told_whole(events: list[dict[str, Any]], whole: Block) -> None:
    assert read(*events) == [BlockStarted(), BlockDone(whole)]


def test_text_is_told_piece_by_piece_and_then_whole_with_its_citations() -> None:
    told = read(
        *block(
            {"type": "text", "text": ""},
            piece("text_delta", "text", "It is "),
            piece("citations_delta", "citation", CITATION),
            piece("text_delta", "text", "42."),
        )
    )

    assert told == [
        BlockStarted(),
        TextDelta("It is "),
        TextDelta("42."),
        BlockDone({"type": "text", "text": "It is 42.", "citations": [CITATION]}),
    ]


def test_text_without_a_letter_is_no_block_since_it_could_not_be_sent_back() -> None:
    assert read(*block({"type": "text", "text": ""})) == [BlockStarted()]


def test_a_call_that_the_most_tokens_cut_off_is_left_out() -> None:
    cut = block(
        {"type": "tool_use", "id": "a", "name": "b", "input": {}}, piece("input_json_delta", "partial_json", "{")
    )

    started, completed = read(*cut, *end("max_tokens"))

    assert isinstance(started, BlockStarted)
    assert isinstance(completed, Completed)
    assert completed.stop_reason == "max_tokens"


def test_a_call_whose_input_is_not_json_is_a_failure_of_the_provider() -> None:
    cut = block(
        {"type": "tool_use", "id": "a", "name": "b", "input": {}}, piece("input_json_delta", "partial_json", "{")
    )

    with pytest.raises(ModelCallError, match="not an answer"):
        read(*cut, *end("tool_use"))


@pytest.mark.parametrize(
    "event",
    [
        [],
        {"type": "error", "error": "overloaded"},
        {"type": "message_delta", "delta": {}, "usage": None},
        {"type": "content_block_delta", "delta": None},
        {"type": "content_block_start", "content_block": None},
        {"type": "content_block_start", "content_block": {}},
        {"type": "content_block_stop"},
    ],
)
def test_an_event_of_another_form_is_a_failure_of_the_provider(event: object) -> None:
    with pytest.raises(ModelCallError) as caught:
        list(MessagesStream().read(b"data: " + orjson.dumps(event) + b"\n"))

    assert caught.value.kind is UPSTREAM_INTERRUPTED


@pytest.mark.parametrize(
    "start",
    [
        {"type": "tool_use", "id": "a", "name": "b", "input": [1]},
        {"type": "tool_use", "id": "a", "name": "b\n", "input": {}},
        {"type": "tool_use", "id": None, "name": "b", "input": {}},
    ],
)
def test_a_call_of_another_form_is_a_failure_of_the_provider(start: Block) -> None:
    call = block(start, piece("input_json_delta", "partial_json", orjson.dumps(start["input"]).decode()))

    with pytest.raises(ModelCallError, match="not an answer"):
        read(*call)


def test_blocks_that_never_end_are_given_up() -> None:
    stream = MessagesStream()
    [start, delta, _] = block(
        {"type": "thinking", "thinking": ""}, piece("thinking_delta", "thinking", "x" * 1024 * 512)
    )
    list(stream.read(b"data: " + orjson.dumps(start) + b"\n"))

    lines = b"data: " + orjson.dumps(delta) + b"\n"
    with pytest.raises(ModelCallError, match="more than an answer can have"):
        list(stream.read(lines * 9))


async def test_the_provider_is_asked_with_blocks_tools_and_the_schema_of_the_answer(
    provider: FakeMessagesApi, tmp_path: Path
) -> None:
    credentials = tmp_path / "key"
    credentials.write_text("a-test-key")
    config = AnthropicConfig(model="claude-sonnet-5-5", base_url=provider.base_url, credentials_file=str(credentials))
    content = ({"type": "text", "text": "Hi"}, {"type": "image", "source": {"type": "url", "url": "https://a"}})
    tool = {"name": "now", "description": "The time.", "input_schema": {"type": "object"}}
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}

    model = AnthropicProvider(config, ssl.create_default_context())
    request = ModelRequest("", (Message("user", content),), 100, tools=(tool,), output_schema=schema)
    events = [event async for event in model.stream(request)]
    await model.aclose()

    assert isinstance(events[-1], Completed)
    [asked] = provider.requests()
    assert asked["body"]["messages"] == [{"role": "user", "content": list(content)}]
    assert asked["body"]["tools"] == [tool]
    assert asked["body"]["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
