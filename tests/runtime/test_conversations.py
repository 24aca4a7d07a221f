"""GET and DELETE /v1/conversations: what a caller sees of its own, and nobody else of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dev.fake_messages_api import running
from tests.runtime.conftest import url_of_new_database
from tests.runtime.runtime_process import KEY, OTHER_KEY, PROVIDER_KEY, RuntimeProcess, anthropic_model, runtime_process

UNKNOWN = "0" * 32


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    """A runtime on each engine."""
    folder = tmp_path_factory.mktemp(request.param)
    state: dict[str, object] = {"path": str(folder / "state.db"), "retention_days": 30}
    if request.param == "postgresql":
        url = url_of_new_database(request.getfixturevalue("postgresql"), folder)
        state = {"url_file": str(url), "retention_days": 30}
    with runtime_process(folder, state=state) as process:
        yield process


@pytest.fixture
def runtime(shared: RuntimeProcess) -> RuntimeProcess:
    """A runtime in which nobody has a conversation."""
    for key in (KEY, OTHER_KEY):
        for item in get(shared, key=key, limit=100).json()["items"]:
            delete(shared, item["id"], key=key)
    return shared


def get(runtime: RuntimeProcess, path: str = "", *, key: str = KEY, **query: Any) -> httpx2.Response:
    return runtime.client.get(f"/v1/conversations{path}", params=query, headers={"X-API-Key": key})


def delete(runtime: RuntimeProcess, conversation: str, *, key: str = KEY) -> httpx2.Response:
    return runtime.client.delete(f"/v1/conversations/{conversation}", headers={"X-API-Key": key})


def begin(runtime: RuntimeProcess, message: str, *, key: str = KEY) -> str:
    return str(runtime.chat(message, key=key).json()["conversation_id"])


def test_a_caller_sees_pages_of_its_own_the_one_used_last_first(runtime: RuntimeProcess) -> None:
    assert get(runtime).json() == {"items": [], "next_cursor": None}
    mine = [begin(runtime, str(number)) for number in range(5)]
    begin(runtime, "of somebody else", key=OTHER_KEY)
    runtime.chat("again", conversation_id=mine[0])

    pages = [get(runtime, limit=2).json()]
    while cursor := pages[-1]["next_cursor"]:
        pages.append(get(runtime, limit=2, cursor=cursor).json())

    assert [[item["id"] for item in page["items"]] for page in pages] == [
        [mine[0], mine[4]],
        [mine[3], mine[2]],
        [mine[1]],
    ]
    assert {item["agent"] for page in pages for item in page["items"]} == {"main"}


def test_no_conversation_comes_twice_or_is_left_out_while_others_are_used(runtime: RuntimeProcess) -> None:
    mine = [begin(runtime, str(number)) for number in range(4)]
    first = get(runtime, limit=2).json()

    runtime.chat("again", conversation_id=mine[3])
    begin(runtime, "a new one")
    second = get(runtime, limit=2, cursor=first["next_cursor"]).json()

    assert [item["id"] for item in (*first["items"], *second["items"])] == mine[::-1]


def test_what_was_said_can_be_read(runtime: RuntimeProcess) -> None:
    blocks = [{"type": "text", "text": "What is it?"}]
    conversation = begin(runtime, "Hi")
    runtime.chat(blocks, conversation_id=conversation)  # type: ignore[arg-type]  # the helper is for plain text

    document = get(runtime, f"/{conversation}").json()

    assert (document["id"], document["agent"]) == (conversation, "main")
    assert [message["role"] for message in document["messages"]] == ["user", "assistant"] * 2
    assert document["messages"][0]["content"] == "Hi"
    assert document["messages"][2]["content"] == blocks


def test_what_was_deleted_is_gone_and_the_others_stay(runtime: RuntimeProcess) -> None:
    gone, stays = begin(runtime, "one"), begin(runtime, "two")

    assert delete(runtime, gone).status_code == 204

    assert [item["id"] for item in get(runtime).json()["items"]] == [stays]
    assert get(runtime, f"/{gone}").json()["code"] == "conversation_not_found"
    assert delete(runtime, gone).status_code == 404
    assert runtime.chat("again", conversation_id=gone).status_code == 404


@pytest.mark.parametrize("conversation", ["of somebody else", UNKNOWN, "x" * 300, "%00", "..%2f.."])
def test_what_is_not_the_callers_is_not_there_and_stays(runtime: RuntimeProcess, conversation: str) -> None:
    theirs = begin(runtime, "Hi", key=OTHER_KEY)
    wanted = theirs if conversation == "of somebody else" else conversation

    assert get(runtime, f"/{wanted}").status_code == 404
    assert delete(runtime, wanted).status_code == 404

    assert get(runtime, f"/{theirs}", key=OTHER_KEY).status_code == 200


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"limit": "0"}, "limit: Input should be greater than or equal to 1"),
        ({"limit": "101"}, "limit: Input should be less than or equal to 100"),
        ({"limit": "many"}, "limit: Input should be a valid integer"),
        ({"cursor": "made-up"}, "cursor: String should match pattern"),
        ({"cursor": f"{'9' * 17}.{'0' * 32}"}, "cursor: String should match pattern"),
        ({"order": "oldest"}, "order: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_query_is_refused_by_the_name_of_its_parameter(
    echo_runtime: RuntimeProcess, query: dict[str, str], said: str
) -> None:
    refused = get(echo_runtime, **query)

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_input")
    assert refused.json()["detail"].startswith(said)
    assert refused.json()["errors"][0]["parameter"] == next(iter(query))


def test_a_conversation_that_is_answering_is_not_deleted_under_its_answer(tmp_path: Path) -> None:
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    with running() as provider:
        models = [anthropic_model("main", provider.base_url, credentials)]
        with runtime_process(tmp_path, models=models) as runtime:
            conversation = begin(runtime, "Hi")
            provider.script({"deltas": ["slow"] * 30, "delta_delay": 0.2})
            answering = threading.Thread(target=runtime.chat, kwargs={"conversation_id": conversation})
            answering.start()
            while not provider.requests()[1:]:
                answering.join(0.02)

            refused = delete(runtime, conversation)
            answering.join()

            assert (refused.status_code, refused.json()["code"]) == (409, "conversation_busy")
            assert delete(runtime, conversation).status_code == 204
            assert get(runtime).json()["items"] == []
