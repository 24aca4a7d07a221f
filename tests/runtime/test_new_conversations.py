"""A new conversation while its first turn goes on: whoever was told its id cannot get in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import pytest

from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from tests.runtime.runtime_process import (
    KEY,
    PROVIDER_KEY,
    RuntimeProcess,
    anthropic_model,
    parse_events,
    runtime_process,
)
from tests.runtime.test_problems import assert_problem

Replicas = tuple[RuntimeProcess, RuntimeProcess]


@pytest.fixture
def replicas(tmp_path: Path, provider: FakeMessagesApi, state: dict[str, object]) -> Iterator[Replicas]:
    """Two runtimes on one database; where only one can be, it is both."""
    credentials = tmp_path / "credentials"
    credentials.write_text(PROVIDER_KEY)
    models = [anthropic_model("main", provider.base_url, credentials)]
    with ExitStack() as stack:
        first = stack.enter_context(runtime_process(tmp_path, models=models, state=state))
        second = first
        if "url_file" in state:
            folder = tmp_path / "second"
            folder.mkdir()
            second = stack.enter_context(runtime_process(folder, models=models, state=state))
        yield first, second


@contextmanager
def told(runtime: RuntimeProcess, **body: object) -> Iterator[str]:
    """The id of a new conversation, from the first event of a stream to the end of the block, or of the stream."""
    with (
        httpx2.Client(base_url=runtime.client.base_url, timeout=60, trust_env=False) as caller,
        caller.stream("POST", "/v1/chat/stream", json={"message": "Hi", **body}, headers={"X-API-Key": KEY}) as stream,
    ):
        pieces = stream.iter_text()  # which would leave, were it let go
        text = next(pieces)
        while "\n\n" not in text:
            text += next(pieces)
        yield str(parse_events(text[: text.index("\n\n") + 2])[0].data["conversation_id"])


def test_nobody_gets_in_before_the_first_turn_has_ended(replicas: Replicas, provider: FakeMessagesApi) -> None:
    provider.script({"deltas": ["a", "b"], "delta_delay": 120})
    headers = {"X-API-Key": KEY}

    with told(replicas[0]) as conversation:
        for replica in replicas:
            assert_problem(replica.chat("And?", conversation_id=conversation), "conversation_busy")
            refused = replica.client.delete(f"/v1/conversations/{conversation}", headers=headers)
            assert_problem(refused, "conversation_busy")

    # The caller has left: what was broken off is not remembered, and the id is good.
    wait_until(
        lambda: replicas[1].chat("And?", conversation_id=conversation).status_code == 200,
        deadline=20,
    )
    assert len(provider.requests()) == 2
    assert [message["content"] for message in provider.requests()[-1]["body"]["messages"]] == ["And?"]


def test_who_waits_for_the_first_turn_goes_on_from_it(replicas: Replicas, provider: FakeMessagesApi) -> None:
    provider.script({"deltas": ["a", "b", "c"], "delta_delay": 1})

    with told(replicas[0], on_disconnect="continue") as conversation:
        wait_until(
            lambda: replicas[1].chat("And?", conversation_id=conversation).status_code == 200,
            deadline=20,
        )

    said = [message["content"] for message in provider.requests()[-1]["body"]["messages"]]
    assert said == ["Hi", "abc", "And?"]
