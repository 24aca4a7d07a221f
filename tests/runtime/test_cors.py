"""Web pages of other origins: who may ask, and what of an answer a page may read."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi import FastAPI

from agent_runtime.agent.providers.echo import EchoProvider
from agent_runtime.api.openapi import openapi_document
from agent_runtime.pipeline.body_limit import BODY_LIMIT_BYTES
from agent_runtime.pipeline.cors import EXPOSED_HEADERS, check_origins
from agent_runtime.settings import ConfigurationError
from dev.process import wait_until
from tests.runtime.runtime_process import KEY, RuntimeProcess, runtime_process
from tests.runtime.test_application import application

ORIGIN = "https://app.example.com"
ASKED = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-api-key"}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    """A runtime that pages of one origin may ask."""
    with runtime_process(tmp_path_factory.mktemp("cors"), cors_allowed_origins=[ORIGIN]) as runtime:
        yield runtime


def test_a_browser_may_ask_first_without_a_key_and_is_not_counted(runtime: RuntimeProcess) -> None:
    answer = runtime.client.options("/v1/chat", headers={"Origin": ORIGIN, **ASKED})

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "X-API-Key" in answer.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in answer.headers
    assert not [line for line in runtime.log() if line.get("method") == "OPTIONS"]
    assert runtime.metric("agent_requests_total", route="other", status="200") == 0


@pytest.mark.parametrize("origin", ["https://app.example.com.evil.example", "http://app.example.com", "null"])
def test_pages_of_others_may_neither_ask_nor_read(runtime: RuntimeProcess, origin: str) -> None:
    asked_first = runtime.client.options("/v1/chat", headers={"Origin": origin, **ASKED})
    answer = runtime.client.get("/", headers={"Origin": origin, "X-API-Key": KEY})

    assert asked_first.status_code == 400
    for each in (asked_first, answer):
        assert "access-control-allow-origin" not in each.headers


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"message": "Hi"}', {"X-API-Key": KEY}, 200),
        (b'{"message": "Hi"}', {}, 401),
        (b'{"message": "Hi"}', {"X-API-Key": KEY, "Content-Type": "text/plain"}, 415),
        (b'{"message": ""}', {"X-API-Key": KEY}, 422),
        (b" " * (BODY_LIMIT_BYTES + 1), {"X-API-Key": KEY}, 413),
    ],
)
def test_a_page_reads_every_answer_and_its_headers(
    runtime: RuntimeProcess, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = runtime.client.post(
        "/v1/chat", content=body, headers={"Origin": ORIGIN, "Content-Type": "application/json", **headers}
    )

    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "Origin" in answer.headers["vary"]
    assert answer.headers["access-control-expose-headers"] == ", ".join(EXPOSED_HEADERS)


def test_every_header_of_the_document_may_be_read(tmp_path: Path) -> None:
    document: dict[str, Any] = openapi_document(cast("FastAPI", application(tmp_path, EchoProvider())))

    assert document["components"]["headers"].keys() <= set(EXPOSED_HEADERS)


def test_pages_are_told_nothing_where_no_origin_is_named(echo_runtime: RuntimeProcess) -> None:
    answer = echo_runtime.client.get("/", headers={"Origin": ORIGIN, "X-API-Key": KEY})

    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert echo_runtime.client.options("/v1/chat", headers={"Origin": ORIGIN, **ASKED}).status_code == 401


def test_any_origin_is_refused_in_production() -> None:
    check_origins(["*"], "development")
    check_origins([ORIGIN], "production")

    with pytest.raises(ConfigurationError, match="name the origins"):
        check_origins([ORIGIN, "*"], "production")


def test_a_question_of_a_browser_closes_its_connection_too_once_the_process_has_been_told_to_end(
    tmp_path: Path,
) -> None:
    with runtime_process(tmp_path, cors_allowed_origins=[ORIGIN], lame_duck_seconds=60) as runtime:
        runtime.child.process.send_signal(signal.SIGTERM)
        wait_until(lambda: runtime.phase == "lame duck", deadline=20)

        answer = runtime.client.options("/v1/chat", headers={"Origin": ORIGIN, **ASKED})

        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        runtime.child.stop(grace=15)  # a second signal ends the wait
