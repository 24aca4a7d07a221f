"""GET /v1/agents and GET /health: what the service says of its agents and of itself."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis

from dev import servers
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from tests.runtime.conftest import Provided
from tests.runtime.runtime_process import (
    KEY,
    PROVIDER_KEY,
    RuntimeProcess,
    anthropic_model,
    echo_model,
    runtime_process,
)

PRICES = {"input_per_million": "1", "output_per_million": "1", "web_search_per_thousand": "10"}
HEADERS = {"X-API-Key": KEY}


def get(runtime: RuntimeProcess, path: str) -> Any:
    return runtime.client.get(path, headers=HEADERS)


def test_each_agent_says_what_it_has_done(tmp_path: Path) -> None:
    with runtime_process(tmp_path, models=[echo_model("main", pricing=PRICES), echo_model("other")]) as runtime:
        answers = [runtime.chat("one two").json(), runtime.chat("three").json()]
        runtime.chat(" ")  # refused before any agent sees it

        listed = get(runtime, "/v1/agents").json()
        one = get(runtime, "/v1/agents/main").json()

        assert (listed["scope"], listed["next_cursor"]) == ("pod", None)
        main, other = listed["items"]
        assert one == {**main, "scope": "pod", "since": listed["since"]}
        assert (main["name"], main["model"], main["default"]) == ("main", "main", True)
        assert (other["name"], other["default"], other["statistics"]["requests"]) == ("other", False, 0)
        assert other["statistics"]["mean_ms"] is None
        found = main["statistics"]
        assert (found["requests"], found["errors"], found["unpriced_answers"]) == (2, 0, 0)
        assert 0 < found["mean_ms"] <= found["p95_ms"] + 0.1
        assert found["cost_usd"] == pytest.approx(sum(answer["cost_usd"] for answer in answers))
        assert found["cost_usd"] > 0
        for kind, tokens in found["tokens"].items():
            assert tokens == sum(answer["usage"][kind] for answer in answers)


def test_an_agent_that_there_is_not_is_named_beside_those_that_there_are(echo_runtime: RuntimeProcess) -> None:
    response = get(echo_runtime, "/v1/agents/nobody")

    assert response.status_code == 404
    assert response.json()["code"] == "agent_not_found"
    assert "main" in response.json()["detail"]


def test_failures_of_the_provider_are_errors_of_the_agent_and_refusals_of_callers_are_not(provided: Provided) -> None:
    before = get(provided.runtime, "/v1/agents/single-try").json()["statistics"]
    provided.provider.script({"status": 500})
    assert provided.runtime.chat(agent="single-try").status_code == 502
    unknown = "0" * 32
    assert provided.runtime.chat(agent="single-try", conversation_id=unknown).status_code == 404

    after = get(provided.runtime, "/v1/agents/single-try").json()["statistics"]

    assert after["requests"] - before["requests"] == 2
    assert after["errors"] - before["errors"] == 1


def test_health_needs_a_key_and_tells_of_every_component(echo_runtime: RuntimeProcess) -> None:
    assert echo_runtime.client.get("/health").status_code == 401

    response = get(echo_runtime, "/health")

    assert response.status_code == 200
    health = response.json()
    assert health["status"] == "healthy"
    assert health["uptime_seconds"] > 0
    assert health["components"]["database"]["status"] == "healthy"
    assert health["components"]["model main"] == {"status": "healthy"}
    assert health["agents"]["main"]["status"] == "healthy"
    assert health["resources"]["memory"]["resident_bytes"] > 10_000_000
    assert health["resources"]["cpu"]["seconds"] > 0
    assert health["resources"]["disk"]["total_bytes"] >= health["resources"]["disk"]["used_bytes"] > 0


def test_health_is_unhealthy_only_while_no_agent_can_answer(tmp_path: Path, provider: FakeMessagesApi) -> None:
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    models = [anthropic_model("main", provider.base_url, credentials, retries=0), echo_model("spare")]
    with runtime_process(tmp_path, models=models) as runtime:
        provider.script({"status": 500, "times": "always"})
        for _ in range(10):
            runtime.chat()

        degraded = get(runtime, "/health")

        assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
        assert degraded.json()["components"]["model main"]["status"] == "unhealthy"
        assert "upstream_unavailable" in degraded.json()["components"]["model main"]["message"]
        assert degraded.json()["agents"]["main"] == {"status": "degraded", "error_percent": 100.0}
        assert degraded.json()["agents"]["spare"]["status"] == "healthy"

    (tmp_path / "alone").mkdir()
    with runtime_process(tmp_path / "alone", models=models[:1]) as runtime:
        for _ in range(3):
            runtime.chat()

        unhealthy = get(runtime, "/health")

        assert (unhealthy.status_code, unhealthy.json()["status"]) == (503, "unhealthy")


def redis_component(runtime: RuntimeProcess, status: str) -> dict[str, Any]:
    """What /health says of the Redis, once that is `status`."""

    def reached() -> dict[str, Any] | None:
        response = get(runtime, "/health")
        assert (response.status_code, response.json()["status"]) == (
            200,
            response.json()["components"]["redis"]["status"],
        )
        component: dict[str, Any] = response.json()["components"]["redis"]
        return component if component["status"] == status else None

    return wait_until(reached, deadline=30, describe=runtime.child.log_tail)


def with_redis(folder: Path, url: str) -> dict[str, object]:
    """The part of a configuration that says where state is kept, and how processes wake each other."""
    (folder / "redis-url").write_text(url)
    return {"path": str(folder / "state.db"), "redis_url_file": str(folder / "redis-url"), "retention_days": 30}


def test_a_redis_that_goes_and_comes_degrades_and_heals_the_service(tmp_path: Path) -> None:
    with ExitStack() as life_of_redis:
        url = life_of_redis.enter_context(servers.redis(tmp_path))
        with runtime_process(tmp_path, state=with_redis(tmp_path, url)) as runtime:
            assert redis_component(runtime, "healthy")["latency_ms"] > 0

            life_of_redis.close()

            message = redis_component(runtime, "degraded")["message"]
            assert "tasks are looked for every" in message
            assert url not in message
            life_of_redis.enter_context(servers.redis(tmp_path, port=urlsplit(url).port))
            assert set(redis_component(runtime, "healthy")) == {"status", "latency_ms"}


def test_a_redis_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with (
        servers.redis(tmp_path) as url,
        runtime_process(tmp_path, state=with_redis(tmp_path, url)) as runtime,
        Redis.from_url(url) as client,
    ):
        redis_component(runtime, "healthy")

        client.client_pause(60_000)

        assert "message" in redis_component(runtime, "degraded")


def test_without_a_redis_nothing_is_said_of_one(echo_runtime: RuntimeProcess) -> None:
    assert "redis" not in get(echo_runtime, "/health").json()["components"]
