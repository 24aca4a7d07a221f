"""The fake Messages API, as the official SDK sees it: what the runtime does not use yet, tests and benchmarks may."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anthropic
import orjson
import pytest
from anthropic.types import MessageParam

from dev.fake_messages_api import FakeMessagesApi

ASK: list[MessageParam] = [{"role": "user", "content": "What is the weather?"}]
TOOL = {"id": "toolu_1", "name": "weather", "input": {"city": "Köln"}}


@pytest.fixture
async def sdk(provider: FakeMessagesApi) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """The SDK in front of the fake."""
    async with anthropic.AsyncAnthropic(
        api_key="test-key-not-a-secret", base_url=provider.base_url, max_retries=0
    ) as client:
        yield client


def header(**script: object) -> dict[str, str]:
    """The script of one request, in its own header."""
    return {"x-fake-script": orjson.dumps(script).decode()}


async def test_an_answer_comes_as_a_document(sdk: anthropic.AsyncAnthropic) -> None:
    answer = await sdk.messages.create(
        model="claude-sonnet-5-5", max_tokens=10, messages=ASK, extra_headers=header(deltas=["Rain, ", "mostly."])
    )

    assert [block.text for block in answer.content if block.type == "text"] == ["Rain, mostly."]
    assert (answer.stop_reason, answer.usage.output_tokens) == ("end_turn", 2)


@pytest.mark.parametrize("deltas", [[], ["Let me see."]], ids=["alone", "after text"])
async def test_a_tool_turn_is_the_same_as_a_document_and_as_a_stream(
    sdk: anthropic.AsyncAnthropic, deltas: list[str]
) -> None:
    script = header(deltas=deltas, tool_use=[TOOL])

    document = await sdk.messages.create(model="m", max_tokens=10, messages=ASK, extra_headers=script)
    async with sdk.messages.stream(model="m", max_tokens=10, messages=ASK, extra_headers=script) as stream:
        streamed = await stream.get_final_message()

    for answer in (document, streamed):
        [call] = [block for block in answer.content if block.type == "tool_use"]
        assert (call.id, call.name, call.input) == ("toolu_1", "weather", {"city": "Köln"})
        assert len(answer.content) == len(deltas) + 1
        assert answer.stop_reason == "tool_use"


async def test_an_error_has_the_type_that_the_sdk_knows_it_by(sdk: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.RateLimitError) as caught:
        await sdk.messages.create(model="m", max_tokens=10, messages=ASK, extra_headers=header(status=429))

    assert caught.value.type == "rate_limit_error"


async def test_tokens_are_counted_and_models_listed(sdk: anthropic.AsyncAnthropic) -> None:
    counted = await sdk.messages.count_tokens(model="m", messages=ASK)

    assert counted.input_tokens > 1
    assert "claude-sonnet-5-5" in [model.id async for model in sdk.models.list()]
