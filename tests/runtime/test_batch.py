"""POST /v1/chat/batch: each item its own answer or problem, in order."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from dev.process import wait_until
from tests.runtime.conftest import Provided
from tests.runtime.runtime_process import KEY, RuntimeProcess
from tests.runtime.test_problems import assert_problem


def batch(runtime: RuntimeProcess, *items: dict[str, Any], **fields: Any) -> httpx2.Response:
    return runtime.client.post("/v1/chat/batch", json={"items": items, **fields}, headers={"X-API-Key": KEY})


def test_items_are_answered_in_their_order(echo_runtime: RuntimeProcess) -> None:
    response = batch(echo_runtime, *({"message": f"{number}"} for number in range(5)), batch_id="b-1")

    answer = response.json()
    assert (answer["batch_id"], answer["status"]) == ("b-1", "completed")
    assert [item["index"] for item in answer["items"]] == [0, 1, 2, 3, 4]
    assert [item["result"]["message"][-1] for item in answer["items"]] == ["0", "1", "2", "3", "4"]


def test_an_item_that_fails_leaves_the_others_their_answers(echo_runtime: RuntimeProcess) -> None:
    answer = batch(
        echo_runtime,
        {"message": "Hi"},
        {"message": " "},
        {"message": "Hi", "agent": "nobody"},
        {"message": "Hi", "stream": True},
        {"message": "Hi", "conversation_id": "0" * 32},
        {"message": "Hi", "metadata": {"a": 10**30}},
    ).json()

    assert answer["status"] == "partial"
    assert [item["status"] for item in answer["items"]] == ["completed", *["failed"] * 5]
    problems = [item["problem"] for item in answer["items"][1:]]
    assert [problem["code"] for problem in problems] == [
        "invalid_input",
        "agent_not_found",
        "invalid_input",
        "conversation_not_found",
        "invalid_input",
    ]
    assert [problem["errors"][0]["pointer"] for problem in problems if "errors" in problem] == [
        "/items/1/message",
        "/items/3/stream",
        "/items/5/metadata/a",
    ]


def test_a_batch_of_nothing_but_failures_has_failed(echo_runtime: RuntimeProcess) -> None:
    assert batch(echo_runtime, {"message": ""}).json()["status"] == "failed"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"items": []}, "/items"),
        ({"items": [{"message": "Hi"}] * 17}, "/items"),
        ({"items": ["Hi"]}, "/items/0"),
        ({"items": [{"message": "Hi"}], "priority": 11}, "/priority"),
        ({"items": [{"message": "Hi"}], "priority": "5"}, "/priority"),
        ({"items": [{"message": "Hi"}], "batch_id": " "}, "/batch_id"),
        ({}, "/items"),
    ],
)
def test_a_batch_that_is_none_is_refused_whole(
    echo_runtime: RuntimeProcess, body: dict[str, Any], pointer: str
) -> None:
    response = echo_runtime.client.post("/v1/chat/batch", json=body, headers={"X-API-Key": KEY})

    assert assert_problem(response, "invalid_input")["errors"][0]["pointer"] == pointer


def test_items_of_one_conversation_follow_each_other(provided: Provided) -> None:
    conversation = provided.runtime.chat("First?").json()["conversation_id"]
    provided.provider.script({"deltas": ["One."], "first_delay": 0.2, "times": 3})

    answer = batch(
        provided.runtime, *({"message": text, "conversation_id": conversation} for text in ("a", "b", "c"))
    ).json()

    assert answer["status"] == "completed"
    asked = provided.provider.requests()[-1]["body"]["messages"]
    assert [message["content"] for message in asked if message["role"] == "user"] == ["First?", "a", "b", "c"]


def test_a_caller_who_leaves_a_batch_ends_all_its_model_calls_at_once(provided: Provided) -> None:
    provided.provider.script({"first_delay": 60, "times": 3})

    with httpx2.Client(base_url=provided.runtime.client.base_url, trust_env=False) as caller:
        with pytest.raises(httpx2.ReadTimeout):
            caller.post(
                "/v1/chat/batch",
                json={"items": [{"message": "Hi"}] * 3},
                headers={"X-API-Key": KEY},
                timeout=httpx2.Timeout(10, read=3),
            )
        left = time.time()

    wait_until(lambda: all(request["aborted"] for request in provided.provider.requests()), deadline=5)
    requests = provided.provider.requests()
    assert len(requests) == 3
    assert max(request["aborted"] for request in requests) - left < 0.2


def test_each_item_is_counted_and_logged_and_has_a_place_of_its_own(provided: Provided) -> None:
    def counted() -> float:
        return provided.runtime.metric(
            "agent_requests_total", agent="main", protocol="chat", route="/v1/chat/batch", status="200"
        )

    before = counted()
    provided.provider.script({"first_delay": 1, "times": 2})
    response = batch(provided.runtime, {"message": "Hi"}, {"message": "Hello"}, {"message": " "})

    assert counted() - before == 2
    lines = [line for line in provided.runtime.log() if line.get("request_id") == response.headers["x-request-id"]]
    logged = {line["item"]: line["status"] for line in lines if line["event"] == "request" and "item" in line}
    assert logged == {0: 200, 1: 200, 2: 422}


def test_each_item_takes_a_place_among_those_that_are_answered_at_once(provided: Provided) -> None:
    provided.provider.script({"first_delay": 2, "times": 16})

    with ThreadPoolExecutor() as callers:
        answer = callers.submit(batch, provided.runtime, *[{"message": "Hi"}] * 16)
        wait_until(lambda: provided.runtime.metric("agent_requests_in_flight") == 16, deadline=10)

        assert answer.result().json()["status"] == "completed"
