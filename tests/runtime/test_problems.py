"""Problem documents: each code of the catalogue where it comes from, and the list in the documentation."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent_runtime.api.errors import CATALOGUE
from agent_runtime.pipeline.body_limit import BODY_LIMIT_BYTES
from dev.process import wait_until
from tests.runtime.conftest import REQUEST_TIMEOUT_SECONDS, Provided
from tests.runtime.runtime_process import KEY, RuntimeProcess

ASK = {"X-API-Key": KEY, "Content-Type": "application/json"}


def assert_problem(response: httpx2.Response, code: str) -> dict[str, Any]:
    """The response is the problem `code` in full form; returns its document."""
    kind = CATALOGUE[code]
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["code"]) == (kind.status, code), problem
    assert problem["status"] == kind.status
    assert problem["type"] == f"urn:agentservice:problem:{code}"
    assert problem["title"] == kind.title
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["instance"] == response.request.url.path
    assert problem["detail"]
    assert response.headers.get("x-should-retry") == (None if kind.repeatable else "false")
    assert response.headers["x-content-type-options"] == "nosniff"
    return problem


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/message"),
        ({"message": " "}, "/message"),
        ({"message": 7}, "/message"),
        ({"message": "Hi", "text": "Hi"}, "/text"),
        ({"message": "Hi", "stream": 0}, "/stream"),
        ({"message": "Hi", "store": "no"}, "/store"),
        ({"message": "Hi", "conversation_id": "../1"}, "/conversation_id"),
        ({"message": "Hi", "metadata": {"a/b~": 1}}, "/metadata/a~1b~0"),
        ({"message": "Hi", "store": False, "conversation_id": "0" * 32}, ""),
    ],
)
def test_invalid_input_names_the_field(echo_runtime: RuntimeProcess, body: dict[str, Any], pointer: str) -> None:
    response = echo_runtime.client.post("/v1/chat", json=body, headers=ASK)

    problem = assert_problem(response, "invalid_input")
    assert problem["errors"][0]["pointer"] == pointer


def test_a_body_full_of_faults_is_not_listed_fault_by_fault(echo_runtime: RuntimeProcess) -> None:
    body = {"message": "Hi"} | {f"field-{number}": 1 for number in range(1000)}

    problem = assert_problem(echo_runtime.client.post("/v1/chat", json=body, headers=ASK), "invalid_input")

    assert problem["detail"] == "The body has 1000 faults."
    assert "errors" not in problem


def test_malformed_json(echo_runtime: RuntimeProcess) -> None:
    assert_problem(echo_runtime.client.post("/v1/chat", content=b'{"message": ', headers=ASK), "malformed_json")


def test_unsupported_media_type(echo_runtime: RuntimeProcess) -> None:
    response = echo_runtime.client.post("/v1/chat", data={"message": "Hi"}, headers={"X-API-Key": KEY})

    assert_problem(response, "unsupported_media_type")


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "found out"])
def test_body_too_large(echo_runtime: RuntimeProcess, *, chunked: bool) -> None:
    body = b'{"message": "%s"}' % (b"x" * BODY_LIMIT_BYTES)

    response = echo_runtime.client.post(
        "/v1/chat", content=iter([body[:1000], body[1000:]]) if chunked else body, headers=ASK
    )

    assert_problem(response, "body_too_large")


def test_a_body_just_within_the_limit_is_served(echo_runtime: RuntimeProcess) -> None:
    message = "x" * (BODY_LIMIT_BYTES - len('{"message":"","store":false}'))
    body = b'{"message":"%s","store":false}' % message.encode()
    assert len(body) == BODY_LIMIT_BYTES

    assert echo_runtime.client.post("/v1/chat", content=body, headers=ASK).status_code == 200


def test_not_found(echo_runtime: RuntimeProcess) -> None:
    assert_problem(echo_runtime.client.get("/v1/chats", headers=ASK), "not_found")


def test_method_not_allowed(echo_runtime: RuntimeProcess) -> None:
    response = echo_runtime.client.get("/v1/chat", headers=ASK)

    assert_problem(response, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_a_refused_method_is_told_all_that_its_path_takes(echo_runtime: RuntimeProcess) -> None:
    response = echo_runtime.client.put(f"/v1/conversations/{'0' * 32}", headers=ASK)

    assert_problem(response, "method_not_allowed")
    assert response.headers["allow"] == "DELETE, GET"


def test_agent_not_found(echo_runtime: RuntimeProcess) -> None:
    assert "main" in assert_problem(echo_runtime.chat(agent="nobody"), "agent_not_found")["detail"]


def test_conversation_not_found(echo_runtime: RuntimeProcess) -> None:
    assert_problem(echo_runtime.chat(conversation_id="0" * 32), "conversation_not_found")


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "wrong"}, {"Authorization": "Basic YTpi"}])
def test_unauthenticated(echo_runtime: RuntimeProcess, headers: dict[str, str]) -> None:
    response = echo_runtime.client.post("/v1/chat", json={"message": "Hi"}, headers=headers)

    assert_problem(response, "unauthenticated")
    assert response.headers["www-authenticate"] == 'Bearer realm="agentservice"'


def test_conversation_busy(provided: Provided) -> None:
    conversation = provided.runtime.chat().json()["conversation_id"]
    provided.provider.script({"headers_delay": 4})
    first = threading.Thread(target=provided.runtime.chat, kwargs={"conversation_id": conversation})
    first.start()
    try:
        _wait_for_requests(provided, 2)
        response = provided.runtime.chat(conversation_id=conversation)
    finally:
        first.join()

    assert_problem(response, "conversation_busy")
    assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("script", "code", "retry_after"),
    [
        ({"status": 400}, "upstream_rejected", None),
        ({"status": 404}, "upstream_model_not_found", None),
        ({"status": 401}, "upstream_unauthorized", None),
        ({"status": 403}, "upstream_unauthorized", None),
        ({"status": 429, "headers": {"retry-after": "17"}}, "upstream_overloaded", "17"),
        ({"status": 429, "headers": {"retry-after": "nan"}}, "upstream_overloaded", "5"),
        ({"status": 429, "headers": {"retry-after": "-1"}}, "upstream_overloaded", "5"),
        ({"status": 529}, "upstream_overloaded", "5"),
        ({"status": 500}, "upstream_unavailable", None),
        ({"error_after": 0}, "upstream_overloaded", "5"),
        ({"error_after": 0, "error_type": "api_error"}, "upstream_unavailable", None),
        ({"error_after": 0, "error_type": "invalid_request_error"}, "upstream_rejected", None),
        ({"cut_after": 0}, "upstream_interrupted", None),
        ({"cut_after": 2}, "upstream_interrupted", None),
        ({"end_after": 2}, "upstream_interrupted", None),
        ({"garbage_after": 2}, "upstream_interrupted", None),
    ],
)
def test_failures_of_the_provider(
    provided: Provided, script: dict[str, Any], code: str, retry_after: str | None
) -> None:
    provided.provider.script(script)

    response = provided.runtime.chat(agent="single-try")

    assert_problem(response, code)
    assert response.headers.get("retry-after") == retry_after


def test_upstream_timeout(provided: Provided) -> None:
    provided.provider.script({"first_delay": 60, "times": 2})

    assert_problem(provided.runtime.chat(agent="impatient"), "upstream_timeout")


def test_deadline_exceeded(provided: Provided) -> None:
    provided.provider.script({"delta_delay": 60})

    response = provided.runtime.chat()

    assert f"{REQUEST_TIMEOUT_SECONDS} s" in assert_problem(response, "deadline_exceeded")["detail"]


def test_the_documentation_lists_every_code_with_its_status() -> None:
    documentation = (Path(__file__).parents[2] / "docs" / "runtime.md").read_text()
    section = documentation.partition("\n## Problems\n")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    documented = {row[1].strip().strip("`"): int(row[2]) for row in rows if row[2].strip().isdecimal()}

    assert documented == {code: kind.status for code, kind in CATALOGUE.items()}


def _wait_for_requests(provided: Provided, count: int) -> None:
    wait_until(lambda: len(provided.provider.requests()) >= count, deadline=10, describe=provided.provider.requests)
