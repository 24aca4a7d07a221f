"""Model calls to Anthropic: tries, timeouts, keys, and callers who leave."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from tests.runtime.conftest import Provided
from tests.runtime.runtime_process import KEY, PROVIDER_KEY, anthropic_model, runtime_process

CLOSED_SECONDS = 0.2
"""From the caller's leaving to the end of the connection to the provider."""


@pytest.mark.parametrize(
    "failure",
    [
        {"status": 408},
        {"status": 429, "headers": {"retry-after": "0.1"}},
        {"status": 500},
        {"status": 529},
        {"error_after": 0},
        {"cut_after": 0},
    ],
)
def test_a_failure_before_the_first_text_is_tried_again(provided: Provided, failure: dict[str, Any]) -> None:
    provided.provider.script({**failure, "times": 2}, {"deltas": ["At last."]})

    events = provided.runtime.stream()

    assert [event.data["text"] for event in events if event.type == "delta"] == ["At last."]
    assert len(provided.provider.requests()) == 3


def test_tries_end_with_the_configured_number_of_retries(provided: Provided) -> None:
    provided.provider.script({"status": 529, "times": "always"})

    response = provided.runtime.chat()

    assert response.json()["code"] == "upstream_overloaded"
    assert len(provided.provider.requests()) == 3


@pytest.mark.parametrize("failure", [{"status": 400}, {"status": 403}, {"status": 404}])
def test_a_request_that_can_never_succeed_is_not_tried_again(provided: Provided, failure: dict[str, Any]) -> None:
    provided.provider.script(failure)

    assert provided.runtime.chat().status_code == 502
    assert len(provided.provider.requests()) == 1


def test_a_provider_that_asks_for_a_long_wait_is_not_tried_again(provided: Provided) -> None:
    provided.provider.script({"status": 429, "headers": {"retry-after": "60"}})

    assert provided.runtime.chat().headers["retry-after"] == "60"
    assert len(provided.provider.requests()) == 1


@pytest.mark.parametrize("failure", [{"error_after": 2}, {"cut_after": 2}, {"end_after": 2}])
def test_after_the_first_text_a_failure_is_told_and_not_tried_again(
    provided: Provided, failure: dict[str, Any]
) -> None:
    provided.provider.script(failure)

    events = provided.runtime.stream()

    assert [event.type for event in events] == ["start", "delta", "delta", "error"]
    assert events[-1].data["code"] in {"upstream_overloaded", "upstream_interrupted"}
    assert len(provided.provider.requests()) == 1


def test_a_stream_that_failed_late_counts_as_the_failure_it_was(provided: Provided) -> None:
    def failed() -> float:
        return provided.runtime.metric("agent_requests_total", route="/v1/chat/stream", status="502")

    before = failed()
    provided.provider.script({"cut_after": 2})
    events = provided.runtime.stream()

    line = provided.runtime.request_line(events[0].data["request_id"])
    assert (line["status"], line["outcome"]) == (502, "upstream_interrupted")
    assert failed() == before + 1


def test_a_model_that_shows_nothing_is_given_up_and_tried_again(provided: Provided) -> None:
    provided.provider.script({"first_delay": 60}, {"deltas": ["Here."]})

    response = provided.runtime.chat(agent="impatient")

    assert response.json()["message"] == "Here."
    wait_until(lambda: provided.provider.requests()[0]["aborted"], deadline=5, describe=provided.provider.requests)


def test_a_slow_answer_is_not_a_silent_one(provided: Provided) -> None:
    provided.provider.script({"deltas": ["a", "b", "c"], "delta_delay": 0.4})

    assert provided.runtime.chat(agent="impatient").json()["message"] == "abc"


def test_an_answer_may_be_empty(provided: Provided) -> None:
    provided.provider.script({"deltas": [], "stop_reason": "refusal"})

    answer = provided.runtime.chat().json()

    assert (answer["message"], answer["stop_reason"]) == ("", "refusal")
    assert provided.runtime.chat(conversation_id=answer["conversation_id"]).status_code == 200


@pytest.mark.parametrize("path", ["/v1/chat", "/v1/chat/stream"])
def test_when_the_caller_leaves_the_provider_is_left_at_once(provided: Provided, path: str) -> None:
    # The best of a few: another process may keep the machine from us, but never makes us faster.
    delays = [_delay_of_leaving(provided, path) for _ in range(3)]

    assert min(delays) <= CLOSED_SECONDS, delays


def test_a_caller_who_left_is_logged_as_such_and_keeps_no_place(provided: Provided) -> None:
    def gone() -> float:
        return provided.runtime.metric("agent_requests_total", route="/v1/chat", status="499")

    before = gone()
    _delay_of_leaving(provided, "/v1/chat")

    wait_until(lambda: gone() == before + 1, deadline=5)
    assert provided.runtime.metric("agent_requests_in_flight") == 0
    line = next(line for line in reversed(provided.runtime.log()) if line["event"] == "request")
    assert line["outcome"] == "client_closed"


def test_a_renewed_key_is_used_without_a_restart(tmp_path: Path, provider: FakeMessagesApi) -> None:
    credentials = tmp_path / "provider-key"
    credentials.write_text("old-test-key")
    model = anthropic_model("main", provider.base_url, credentials, retries=0)

    with runtime_process(tmp_path, models=[model]) as runtime:
        provider.script({"valid_key": "old-test-key"})
        assert runtime.chat().status_code == 200

        # Renewed, and refused before the runtime has looked at the file again: it looks, and asks once more.
        credentials.write_text("new-test-key\n")
        provider.script({"valid_key": "new-test-key", "times": "always"})
        assert runtime.chat().status_code == 200
        assert runtime.chat().status_code == 200

        credentials.write_text("wrong-test-key")
        wait_until(lambda: runtime.chat().json().get("code") == "upstream_unauthorized", deadline=10)


def test_a_renewed_key_serves_all_who_were_refused_with_the_old_one(tmp_path: Path, provider: FakeMessagesApi) -> None:
    credentials = tmp_path / "provider-key"
    credentials.write_text("old-test-key")
    model = anthropic_model("main", provider.base_url, credentials, retries=0)

    with runtime_process(tmp_path, models=[model]) as runtime, ThreadPoolExecutor() as callers:
        assert runtime.chat().status_code == 200
        # Both are asked with the old key, and refused when the new one is there.
        provider.script({"valid_key": "new-test-key", "headers_delay": 1, "times": 2}, {"times": "always"})
        answers = [callers.submit(runtime.chat) for _ in range(2)]
        wait_until(lambda: len(provider.requests()) == 3, deadline=10, describe=provider.requests)
        credentials.write_text("new-test-key")

        assert [answer.result().status_code for answer in answers] == [200, 200]


def test_no_key_and_no_prompt_is_ever_logged(provided: Provided) -> None:
    provided.provider.script({"status": 400}, {"status": 500}, {"cut_after": 1}, {"deltas": ["the-answer-text"]})
    for _ in range(4):
        provided.runtime.chat("the-prompt-text", key=KEY)
    provided.runtime.chat(key="wrong-test-key")

    log = provided.runtime.child.log.read_text()
    for secret in (KEY, PROVIDER_KEY, "wrong-test-key", "the-prompt-text", "the-answer-text", "Be brief."):
        assert secret not in log


def _delay_of_leaving(provided: Provided, path: str) -> float:
    """Seconds from a caller's leaving in the middle of an answer until the provider loses its own."""
    provided.provider.script({"deltas": ["a", "b"], "delta_delay": 60})
    seen = len(provided.provider.requests())
    body = orjson.dumps({"message": "Hi"})
    with socket.create_connection(("127.0.0.1", provided.runtime.port)) as caller:
        caller.sendall(
            b"POST %s HTTP/1.1\r\nHost: test\r\nX-API-Key: %s\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (path.encode(), KEY.encode(), len(body), body)
        )
        wait_until(lambda: len(provided.provider.requests()) > seen, deadline=10)
        if path.endswith("stream"):
            while b"event: delta" not in caller.recv(65536):
                pass
        left = time.time()
    record = wait_until(
        lambda: next((r for r in provided.provider.requests()[seen:] if r["aborted"]), None),
        deadline=10,
        describe=provided.provider.requests,
    )
    return float(record["aborted"]) - left


def test_the_report_tells_a_refused_key_at_once_and_an_answer_clears_it(provided: Provided) -> None:
    provided.provider.script({"status": 401}, {"deltas": ["Hello."]})

    provided.runtime.chat()
    refused = _reported(provided)
    provided.runtime.chat()
    answered = _reported(provided)

    assert (refused["health"], refused["code"]) == ("failing", "upstream_unauthorized")
    assert answered["health"] == "healthy"
    assert "code" not in answered


def test_the_report_calls_a_provider_failing_after_three_tries_in_a_row(provided: Provided) -> None:
    provided.provider.script({"deltas": ["Hello."]}, {"status": 500, "times": 3})

    seen = []
    for _ in range(4):
        provided.runtime.chat(agent="single-try")
        seen.append(_reported(provided, "single-try")["health"])

    assert seen == ["healthy", "healthy", "healthy", "failing"]
    assert _reported(provided, "single-try")["code"] == "upstream_unavailable"


def test_the_report_takes_no_refused_request_for_a_fault_of_the_provider(provided: Provided) -> None:
    provided.provider.script({"deltas": ["Hello."]}, {"status": 400, "times": 5})

    for _ in range(6):
        provided.runtime.chat()

    assert _reported(provided)["health"] == "healthy"


def _reported(provided: Provided, name: str = "main") -> dict[str, Any]:
    models = httpx2.get(provided.runtime.admin + "/statusz").json()["models"]
    return next(dict(model) for model in models if model["name"] == name)


def test_the_report_tells_when_a_model_goes(tmp_path: Path, provider: FakeMessagesApi) -> None:
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    going, staying = (anthropic_model(name, provider.base_url, credentials) for name in ("going", "staying"))
    going["anthropic"]["model"] = "claude-sonnet-4-5"

    with runtime_process(tmp_path, models=[going, staying]) as runtime:
        models = {model["name"]: model for model in httpx2.get(runtime.admin + "/statusz").json()["models"]}

    assert models["going"]["retires"] == "2026-11-30"
    assert "retires" not in models["staying"]
