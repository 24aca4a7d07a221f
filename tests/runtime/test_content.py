"""What a message may be made of, and what form an answer may be asked in."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.runtime.conftest import Provided
from tests.runtime.runtime_process import KEY, RuntimeProcess
from tests.runtime.test_problems import ASK, assert_problem

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0").decode()
TEXT = {"type": "text", "text": "What is it?"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
PDF = {
    "type": "document",
    "source": {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF-1.7").decode()},
    "title": "Manual",
}
PLAIN = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Some text."}}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def test_blocks_reach_the_model_as_they_are_and_are_remembered(provided: Provided) -> None:
    blocks = [TEXT, IMAGE, PDF, PLAIN]
    response = provided.runtime.client.post("/v1/chat", json={"message": blocks}, headers=ASK)
    assert response.status_code == 200, response.text
    provided.runtime.chat("And now?", conversation_id=response.json()["conversation_id"])

    first, second = provided.provider.requests()
    assert first["body"]["messages"] == [{"role": "user", "content": blocks}]
    assert second["body"]["messages"][0] == {"role": "user", "content": blocks}
    assert provided.runtime.request_line(response.headers["x-request-id"])["message_length"] == len(TEXT["text"])


def test_echo_answers_in_a_form_with_what_it_is_told_or_nothing(echo_runtime: RuntimeProcess) -> None:
    form = {"type": "json_schema", "schema": {"type": "object"}}

    assert echo_runtime.chat('{"city": "Graz"}', response_format=form).json()["message"] == '{"city": "Graz"}'
    assert echo_runtime.chat("Graz", response_format=form).json()["message"] == "{}"


@pytest.mark.parametrize(
    ("message", "pointer"),
    [
        ([], "/message"),
        (None, "/message"),
        ([TEXT] * 21, "/message"),
        ([7], "/message/0"),
        ([{"type": "tool_result", "tool_use_id": "a"}], "/message/0"),
        ([{"text": "Hi"}], "/message/0"),
        ([TEXT, {"type": "text", "text": ""}], "/message/1/text"),
        ([{**TEXT, "cache_control": {"type": "ephemeral"}}], "/message/0/cache_control"),
        ([{"type": "image"}], "/message/0/source"),
        (
            [{"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/"}}],
            "/message/0/source/type",
        ),
        (
            [{"type": "document", "source": {"type": "url", "url": "http://169.254.169.254/"}}],
            "/message/0/source",
        ),
        ([{"type": "image", "source": {**IMAGE["source"], "data": "?"}}], "/message/0/source"),  # type: ignore[dict-item]
        ([{"type": "image", "source": {**IMAGE["source"], "media_type": "image/gif"}}], "/message/0/source"),  # type: ignore[dict-item]
        ([{"type": "image", "source": {**IMAGE["source"], "media_type": "image/svg"}}], "/message/0/source/media_type"),  # type: ignore[dict-item]
        ([{**PDF, "title": "x" * 513}], "/message/0/title"),
        ("nul \0", "/message"),
        ([{"type": "text", "text": "nul \0"}], "/message/0/text"),
    ],
)
def test_what_is_no_message_is_refused_by_its_place(echo_runtime: RuntimeProcess, message: Any, pointer: str) -> None:
    response = echo_runtime.client.post("/v1/chat", json={"message": message}, headers=ASK)

    assert assert_problem(response, "invalid_input")["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("body", [rb'{"message": "\ud800"}', b'{"message": "\xff\xfe"}', b"\x00\x01", b"", b"[]x"])
def test_what_is_no_text_is_no_json(echo_runtime: RuntimeProcess, body: bytes) -> None:
    assert_problem(echo_runtime.client.post("/v1/chat", content=body, headers=ASK), "malformed_json")


def test_an_answer_in_a_form_is_asked_of_the_provider_and_checked(provided: Provided) -> None:
    provided.provider.script({"deltas": ['{"city":', ' "Bern"}']})

    answer = provided.runtime.chat(response_format={"type": "json_schema", "schema": SCHEMA}).json()

    assert answer["message"] == '{"city": "Bern"}'
    [request] = provided.provider.requests()
    assert request["body"]["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}


@pytest.mark.parametrize("deltas", [["Bern"], ['{"city": "Be'], ['{"city": 7}'], ["{}"]])
def test_an_answer_of_another_form_is_a_problem_and_not_remembered(provided: Provided, deltas: list[str]) -> None:
    conversation = provided.runtime.chat("First?").json()["conversation_id"]
    provided.provider.script({"deltas": deltas})

    response = provided.runtime.chat(
        "Second?", conversation_id=conversation, response_format={"type": "json_schema", "schema": SCHEMA}
    )

    assert_problem(response, "answer_invalid")
    provided.runtime.chat("Third?", conversation_id=conversation)
    messages = provided.provider.requests()[-1]["body"]["messages"]
    assert [message["content"] for message in messages if message["role"] == "user"] == ["First?", "Third?"]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string"}, 'must have "type": "object"'),
        ({"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}}, "pattern is refused"),
        ({"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1/s"}}}, "$ref must name"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}, "$ref must name"),
        (
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
            "refers to itself",
        ),
        (
            {"type": "object", "$ref": "#/$defs/a0"}
            | {"$defs": {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(40)} | {"a40": {}}},
            "more than 200 subschemas",
        ),
        ({"type": "object", "properties": 7}, "is no JSON schema: $.properties"),
        ({"type": "object", "description": "x" * 16_384}, "is larger than 16384 bytes"),
        ({"type": "object", "maximum": 10**30, "minLength": -1}, "is no JSON schema: $.minLength"),
    ],
)
def test_a_schema_that_could_not_be_checked_in_bounded_time_is_refused(
    echo_runtime: RuntimeProcess, schema: dict[str, Any], reason: str
) -> None:
    response = echo_runtime.chat(response_format={"type": "json_schema", "schema": schema})

    problem = assert_problem(response, "invalid_input")
    assert problem["errors"][0]["pointer"] == "/response_format/schema"
    assert reason in problem["detail"]


def test_a_property_may_be_called_like_a_keyword(provided: Provided) -> None:
    provided.provider.script({"deltas": ['{"pattern": "a", "b": [1]}']})
    schema = {
        "type": "object",
        "properties": {"pattern": {"enum": ["a", {"pattern": 1}]}, "b": {"$ref": "#/$defs/b"}},
        "$defs": {"b": {"type": "array", "items": {"type": "integer"}}},
    }

    response = provided.runtime.chat(response_format={"type": "json_schema", "schema": schema})

    assert response.status_code == 200, response.text


def test_nothing_that_was_kept_is_lost_by_what_is_refused(provided: Provided) -> None:
    conversation = provided.runtime.chat("First?").json()["conversation_id"]
    for body in (b"", b"\xff", b'{"message": 7}', b'{"message": "%s"}' % (b"x" * 1024 * 1024)):
        refused = provided.runtime.client.post("/v1/chat", content=body, headers=ASK)
        assert 400 <= refused.status_code < 500
    for fields in ({"message": ""}, {"message": "Hi", "agent": "nobody"}, {"message": [{"type": "image"}]}):
        provided.runtime.client.post(
            "/v1/chat", json={**fields, "conversation_id": conversation}, headers={"X-API-Key": KEY}
        )

    assert provided.runtime.chat("Second?", conversation_id=conversation).status_code == 200
    messages = provided.provider.requests()[-1]["body"]["messages"]
    assert [message["content"] for message in messages if message["role"] == "user"] == ["First?", "Second?"]
