"""The whole application, in process: failures and callers that a healthy model over a socket does not show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection
from starlette.types import ASGIApp, Message, Send

from agent_runtime.agent.model import Model, ModelEvent, ModelRequest, Provider, TextDelta
from agent_runtime.agent.providers.echo import EchoProvider
from agent_runtime.api import event_stream
from agent_runtime.api.live_runs import LiveRuns
from agent_runtime.api_keys import ApiKeys
from agent_runtime.app import build_app
from agent_runtime.cost import Prices
from agent_runtime.lifecycle import Lifecycle
from agent_runtime.metrics import REQUESTS
from agent_runtime.pipeline.admission import Admission
from agent_runtime.pipeline.conversation_lock import ConversationLock
from agent_runtime.pipeline.idempotency import Idempotency
from agent_runtime.pipeline.interruption import Turns
from agent_runtime.pipeline.statistics import Statistics
from agent_runtime.resources import Resources
from agent_runtime.settings import load_config
from agent_runtime.state.conversations import SqlConversations
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.idempotency import SqlIdempotency
from agent_runtime.state.presence import Presence
from agent_runtime.state.runs import SqlRuns
from agent_runtime.state.tasks import SqlTasks
from agent_runtime.state.usage import InteractionLog, SqlLedger
from agent_runtime.state.write_behind import WriteBehind
from agent_runtime.tasks.bell import Bell
from tests.runtime.runtime_process import KEY, parse_events, write_config

ASK_ONCE: Message = {"type": "http.request", "body": b'{"message": "Hi", "store": false}', "more_body": False}
ASK: Message = {"type": "http.request", "body": b'{"message": "Hi"}', "more_body": False}


class Broken:
    """A provider with a fault that nobody thought of, before or after its first text."""

    retires: date | None = None

    def __init__(self, *, after: Iterable[str] = ()) -> None:
        self._texts = after

    async def stream(self, _request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        for text in self._texts:
            yield TextDelta(text)
        raise RuntimeError("secret detail")

    async def aclose(self) -> None:
        """Nothing is held."""


class NoDatabase:
    """A database that fails."""

    shared = False

    async def run(self, _work: Callable[[Connection], Any]) -> Any:
        raise StateUnavailableError("its disk is full")

    async def aclose(self) -> None:
        """Nothing is held."""


def application(directory: Path, provider: Provider, **fields: Any) -> ASGIApp:
    config = load_config(write_config(directory, **fields))
    model = Model("main", provider, max_tokens=10, first_token_timeout_seconds=10, retries=0)
    rows, prices = WriteBehind(NoDatabase()), Prices(config.models, None)
    database = NoDatabase()
    presence = Presence(database)
    resources = Resources(
        config=config,
        database=database,
        presence=presence,
        conversations=SqlConversations(database),
        lock=ConversationLock(None),
        tasks=SqlTasks(database),
        bell=Bell(shared=False),
        ledger=SqlLedger(rows, prices, process="this"),
        interactions=InteractionLog(rows),
        statistics=Statistics(["main"]),
        models={"main": model},
        prices=prices,
        tools={},
    )
    return build_app(
        resources,
        keys=ApiKeys(directory / "api-keys"),
        lifecycle=Lifecycle(),
        turns=Turns(),
        admission=Admission(limit=1, queue_limit=0),
        runs=LiveRuns(SqlRuns(database, presence)),
        idempotency=Idempotency(SqlIdempotency(database, presence)),
    )


async def post(app: ASGIApp, path: str, *messages: Message, send: Send, method: str = "POST") -> None:
    """POST to `path`, with what the server receives: `messages`, then nothing more."""
    coming = iter(messages)

    async def receive() -> Message:
        for message in coming:
            return message
        await asyncio.Event().wait()
        raise AssertionError("nothing sets that event")

    headers = [(b"x-api-key", KEY.encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    async with asyncio.timeout(30):
        await app(scope, receive, send)


class Caller:
    """Takes an answer."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def take(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        [start] = (message for message in self.messages if message["type"] == "http.response.start")
        return int(start["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.messages).decode()


async def test_a_failure_that_nobody_expected_is_an_internal_error_without_its_reason(tmp_path: Path) -> None:
    caller = Caller()

    await post(application(tmp_path, Broken()), "/v1/chat", ASK, send=caller.take)

    document: dict[str, Any] = orjson.loads(caller.text)
    assert (caller.status, document["code"]) == (500, "internal_error")
    assert "secret detail" not in caller.text


async def test_a_failure_within_a_stream_is_told_as_an_event_without_its_reason(tmp_path: Path) -> None:
    caller = Caller()

    await post(application(tmp_path, Broken(after=["One."])), "/v1/chat/stream", ASK_ONCE, send=caller.take)

    events = parse_events(caller.text)
    assert [event.type for event in events] == ["start", "delta", "error"]
    assert events[-1].data["code"] == "internal_error"
    assert "secret detail" not in caller.text


async def test_a_caller_who_leaves_before_its_body_is_complete_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    caller = Caller()
    half: Message = {"type": "http.request", "body": b'{"mess', "more_body": True}

    await post(application(tmp_path, Broken()), "/v1/chat", half, {"type": "http.disconnect"}, send=caller.take)

    assert not caller.messages
    log = capsys.readouterr().out
    assert "client_closed" in log
    assert "unexpected failure" not in log


async def test_a_caller_who_takes_no_more_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(event_stream, "END_SECONDS", 0.05)

    async def stall_at_the_end(message: Message) -> None:
        if b"event: error" in message.get("body", b""):
            await asyncio.Event().wait()

    await post(application(tmp_path, Broken(after=["One."])), "/v1/chat/stream", ASK_ONCE, send=stall_at_the_end)

    assert "client_closed" in capsys.readouterr().out


async def test_a_turn_that_cannot_be_kept_is_refused_and_not_to_be_repeated(tmp_path: Path) -> None:
    caller = Caller()

    await post(application(tmp_path, EchoProvider()), "/v1/chat", ASK, send=caller.take)

    document: dict[str, Any] = orjson.loads(caller.text)
    assert (caller.status, document["code"]) == (503, "state_unavailable")
    assert "its disk is full" in document["detail"]
    assert caller.headers[b"x-should-retry"] == b"false"


async def test_a_turn_that_need_not_be_kept_is_answered_without_a_database(tmp_path: Path) -> None:
    caller = Caller()

    await post(application(tmp_path, EchoProvider()), "/v1/chat", ASK_ONCE, send=caller.take)

    assert caller.status == 200


@pytest.mark.parametrize(
    ("prefix", "path", "status"),
    [
        ("/support", "/support/v1/chat/stream", 200),
        ("/support", "/v1/chat/stream", 200),  # inside the cluster, or behind a proxy that cuts it off itself
        ("/support", "/supportive/v1/chat/stream", 404),
        ("/support", "/support/support/v1/chat/stream", 404),
        ("/v1", "/v1/v1/chat/stream", 200),
        ("/v1", "/v1/chat/stream", 200),
        (None, "/support/v1/chat/stream", 404),
    ],
)
async def test_a_prefix_of_a_proxy_is_cut_off_and_hides_no_route(
    tmp_path: Path, prefix: str | None, path: str, status: int
) -> None:
    caller = Caller()

    await post(application(tmp_path, Broken(after=["One."]), path_prefix=prefix), path, ASK_ONCE, send=caller.take)

    assert caller.status == status


async def test_a_prefix_leaves_no_trace_in_the_metrics(tmp_path: Path) -> None:
    app = application(tmp_path, Broken(after=["One."]), path_prefix="/support")

    await post(app, "/support/v1/chat/stream", ASK_ONCE, send=Caller().take)

    routes = {sample.labels["route"] for metric in REQUESTS.collect() for sample in metric.samples}
    assert "/v1/chat/stream" in routes
    assert not [route for route in routes if "support" in route]


async def test_health_is_degraded_where_the_database_fails_and_stateless_requests_are_answered(tmp_path: Path) -> None:
    app, caller = application(tmp_path, EchoProvider()), Caller()

    await post(app, "/health", send=caller.take, method="GET")

    health = orjson.loads(caller.text)
    assert (caller.status, health["status"], health["tasks"]) == (200, "degraded", None)
    assert health["components"]["database"]["message"] == "its disk is full; requests with store: false are answered"
