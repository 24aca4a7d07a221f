"""POST /v1/chat and /v1/chat/stream: what goes in and what comes out."""

from __future__ import annotations

import pytest

from tests.runtime.conftest import Provided
from tests.runtime.runtime_process import KEY, OTHER_KEY, RuntimeProcess, parse_events


def test_an_answer_of_echo_needs_no_provider_and_says_so(echo_runtime: RuntimeProcess) -> None:
    response = echo_runtime.chat("Hello there")

    assert response.status_code == 200
    answer = response.json()
    assert answer["message"] == "Echo (no model is configured): Hello there"
    assert answer["model"] == "echo"


def test_an_answer_has_these_fields(provided: Provided) -> None:
    provided.provider.script({"deltas": ["Hello, ", "you"], "usage": {"input_tokens": 5, "cache_read_input_tokens": 7}})

    response = provided.runtime.chat("Hi", metadata={"ticket": "17"})

    answer = response.json()
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert answer.pop("request_id") == response.headers["x-request-id"]
    assert len(answer.pop("conversation_id")) == 32
    assert answer.pop("latency_ms") >= 0
    assert answer.pop("created_at").endswith("+00:00")
    assert answer == {
        "agent": "main",
        "message": "Hello, you",
        "tool_calls": [],
        "sources": [],
        "model": "claude-sonnet-5-5",
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 5,
            "output_tokens": 2,
            "cache_read_tokens": 7,
            "cache_write_tokens": 0,
            "web_searches": 0,
        },
        "cost_usd": 0.000031,
        "metadata": {"ticket": "17"},
    }


def test_a_stream_starts_shows_pieces_and_ends_with_what_a_document_would_say(provided: Provided) -> None:
    provided.provider.script({"deltas": ["Hello, ", "you", " \u2028 ü"]})

    events = provided.runtime.stream("Hi")

    assert [event.type for event in events] == ["start", "delta", "delta", "delta", "usage", "done"]
    assert [event.id for event in events] == [1, 2, 3, 4, 5, 6]
    assert "".join(event.data["text"] for event in events if event.type == "delta") == "Hello, you \u2028 ü"
    start, usage, done = events[0].data, events[-2].data, events[-1].data
    assert start["conversation_id"] == done["conversation_id"]
    assert usage["output_tokens"] == 3
    assert (done["stop_reason"], done["model"]) == ("end_turn", "claude-sonnet-5-5")


@pytest.mark.parametrize(
    ("body", "headers"),
    [({"stream": True}, {}), ({}, {"Accept": "text/event-stream"})],
    ids=["by field", "by Accept"],
)
def test_chat_streams_on_request(echo_runtime: RuntimeProcess, body: dict[str, bool], headers: dict[str, str]) -> None:
    response = echo_runtime.client.post(
        "/v1/chat", json={"message": "Hi", **body}, headers={"X-API-Key": KEY, **headers}
    )

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert parse_events(response.text)[-1].type == "done"


def test_the_provider_is_asked_with_the_system_prompt_and_prompt_caching(provided: Provided) -> None:
    provided.runtime.chat("What is it?")

    [request] = provided.provider.requests()
    assert request["body"]["system"] == "Be brief."
    assert request["body"]["messages"] == [{"role": "user", "content": "What is it?"}]
    assert request["body"]["cache_control"] == {"type": "ephemeral"}
    assert request["body"]["max_tokens"] == 1024


def test_a_conversation_is_remembered(provided: Provided) -> None:
    provided.provider.script({"deltas": ["One."]}, {"deltas": ["Two."]})
    conversation = provided.runtime.chat("First?").json()["conversation_id"]

    events = provided.runtime.stream("Second?", conversation_id=conversation)
    provided.runtime.chat("Third?", conversation_id=conversation)

    assert events[-1].data["conversation_id"] == conversation
    assert provided.provider.requests()[-1]["body"]["messages"] == [
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "One."},
        {"role": "user", "content": "Second?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Third?"},
    ]


def test_a_turn_that_failed_is_not_part_of_the_conversation(provided: Provided) -> None:
    conversation = provided.runtime.chat("First?").json()["conversation_id"]
    provided.provider.script({"cut_after": 2})
    assert provided.runtime.chat("Second?", conversation_id=conversation).status_code == 502

    provided.runtime.chat("Third?", conversation_id=conversation)

    messages = provided.provider.requests()[-1]["body"]["messages"]
    assert [message["content"] for message in messages if message["role"] == "user"] == ["First?", "Third?"]


def test_a_conversation_whose_first_answer_broke_off_can_go_on(provided: Provided) -> None:
    provided.provider.script({"cut_after": 2})
    events = provided.runtime.stream("First?")
    assert events[-1].type == "error"

    response = provided.runtime.chat("Again?", conversation_id=events[0].data["conversation_id"])

    assert response.status_code == 200


def test_the_conversation_of_another_caller_is_not_found(echo_runtime: RuntimeProcess) -> None:
    conversation = echo_runtime.chat("First?").json()["conversation_id"]

    response = echo_runtime.chat("Second?", key=OTHER_KEY, conversation_id=conversation)

    assert response.status_code == 404
    assert response.json()["code"] == "conversation_not_found"


def test_the_conversation_with_another_agent_is_not_found(provided: Provided) -> None:
    conversation = provided.runtime.chat("First?").json()["conversation_id"]

    response = provided.runtime.chat("Second?", agent="impatient", conversation_id=conversation)

    assert response.json()["code"] == "conversation_not_found"


def test_without_storing_there_is_no_conversation(echo_runtime: RuntimeProcess) -> None:
    assert echo_runtime.chat("Hi", store=False).json()["conversation_id"] is None


def test_the_service_describes_itself(echo_runtime: RuntimeProcess) -> None:
    response = echo_runtime.client.get("/", headers={"X-API-Key": KEY})

    assert response.json() == {
        "name": "hello",
        "version": "0.1.0",
        "default_agent": "main",
        "agents": [{"name": "main", "description": None}],
    }
