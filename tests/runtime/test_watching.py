"""What others see of a process: its probes and its health check, and of each request an id, a log line and metrics."""

from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from agent_runtime.lifecycle import STALL_SECONDS
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from dev.servers import Postgresql
from tests.runtime.conftest import Provided, url_of_new_database
from tests.runtime.runtime_process import (
    KEY,
    PROVIDER_KEY,
    RuntimeProcess,
    anthropic_model,
    environment,
    runtime_process,
)

STICK = "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: time.sleep(60))"
"""What a process does first whose main loop is to be stuck from a signal on, for longer than a test looks at it:
handlers of signals run in the main thread, and this one holds it."""


def test_probes_of_a_serving_process_pass(echo_runtime: RuntimeProcess) -> None:
    assert [echo_runtime.probe(path) for path in ("/startupz", "/livez", "/readyz")] == [200, 200, 200]


def test_a_stuck_main_loop_fails_the_probes(tmp_path: Path) -> None:
    command = ("-c", f"{STICK}; from agent_runtime.__main__ import main; raise SystemExit(main([]))")

    with runtime_process(tmp_path, command=command) as runtime:
        assert runtime.probe("/livez") == 200

        runtime.child.process.send_signal(signal.SIGUSR1)

        wait_until(lambda: runtime.probe("/livez") == 503, deadline=STALL_SECONDS + 10)
        assert runtime.probe("/readyz") == 503
        assert "stood still" in httpx2.get(runtime.admin + "/livez").text
        runtime.child.kill()


def test_status_names_the_revision_and_what_is_configured(tmp_path: Path) -> None:
    with runtime_process(tmp_path, env={"AGENTSERVICE_REVISION": "0123456789"}) as runtime:
        status = httpx2.get(runtime.admin + "/statusz").json()
        assert runtime.metric("agent_config_revision", revision="0123456789") == 1

    assert status.pop("uptime_seconds") > 0
    assert status.pop("capabilities")
    assert status == {
        "service": "hello",
        "namespace": "default",
        "version": "0.1.0",
        "schema_version": 1,
        "revision": "0123456789",
        "phase": "serving",
        "queue": {"requests": {"in_flight": 0, "queued": 0, "limit": 20}, "tasks": {"pending": 0, "running": 0}},
        "agents": ["main"],
        "models": [{"name": "main", "provider": "Echo", "health": "unknown"}],
    }


def test_status_says_what_waits_though_the_main_loop_is_stuck(tmp_path: Path, provider: FakeMessagesApi) -> None:
    look_often = "from agent_runtime.tasks import upkeep; upkeep.LOOK_SECONDS = 0.05"
    command = ("-c", f"{STICK}; {look_often}; from agent_runtime.__main__ import main; raise SystemExit(main([]))")
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    provider.script({"headers_delay": 60, "times": "always"})
    limits: dict[str, Any] = {"max_concurrent_requests": 1, "tasks": {"concurrency": 1}}

    with (
        runtime_process(
            tmp_path, command=command, models=[anthropic_model("main", provider.base_url, credentials)], **limits
        ) as runtime,
        ThreadPoolExecutor() as callers,
    ):

        def queue() -> Any:
            return httpx2.get(runtime.admin + "/statusz", timeout=5).json()["queue"]

        for _ in range(3):
            runtime.client.post("/v1/tasks", json={"message": "Hi"}, headers={"X-API-Key": KEY})
        answers = [callers.submit(runtime.chat) for _ in range(2)]
        full = {"requests": {"in_flight": 1, "queued": 1, "limit": 1}, "tasks": {"pending": 2, "running": 1}}
        wait_until(lambda: queue() == full, deadline=20, describe=lambda: str(queue()))

        runtime.child.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: runtime.probe("/livez") == 503, deadline=STALL_SECONDS + 10)

        assert queue() == full
        runtime.child.kill()
        assert all(answer.exception() for answer in answers)


def test_what_the_database_does_not_tell_is_left_out(tmp_path: Path, own_server: Postgresql) -> None:
    url_file = url_of_new_database(own_server, tmp_path)
    look_often = "from agent_runtime.tasks import upkeep; upkeep.LOOK_SECONDS = 0.05"
    command = ("-c", f"{look_often}; from agent_runtime.__main__ import main; raise SystemExit(main([]))")

    with runtime_process(tmp_path, command=command, state={"url_file": str(url_file), "retention_days": 30}) as runtime:

        def told() -> set[str]:
            return set(httpx2.get(runtime.admin + "/statusz").json()["queue"])

        wait_until(lambda: told() == {"requests", "tasks"}, deadline=20)
        own_server.stop()

        wait_until(lambda: told() == {"requests"}, deadline=20)

        own_server.start()
        wait_until(lambda: told() == {"requests", "tasks"}, deadline=20)


def test_what_a_configuration_may_say_is_among_the_capabilities(echo_runtime: RuntimeProcess) -> None:
    understood = httpx2.get(echo_runtime.admin + "/statusz").json()["capabilities"]

    assert {
        "tasks",
        "tasks.in_workers",
        "state.redis_url_file",
        "tools.type=MCP",
        "tools.mcp.headers.value_file",
        "models.provider=Anthropic",
    } <= set(understood)
    assert "agents.name" not in understood, "version 1 of the schema says that already"
    assert understood == sorted(set(understood))
    assert sum(map(len, understood)) < 8 * 1024, "an operator reads it of every pod, again and again"


def test_admin_paths_are_not_on_the_port_of_callers(echo_runtime: RuntimeProcess) -> None:
    for path in ("/metrics", "/statusz", "/livez"):
        assert echo_runtime.client.get(path, headers={"X-API-Key": KEY}).status_code == 404


def test_the_health_check_of_the_image_follows_readiness(tmp_path: Path) -> None:
    def check(port: int, address: str) -> int:
        return subprocess.run(
            [sys.executable, "-m", "agent_runtime", "healthcheck"],
            env=environment(tmp_path, ADMIN_PORT=str(port), BIND_ADDRESS=address),
            capture_output=True,
            timeout=60,
            check=False,
        ).returncode

    with runtime_process(tmp_path, env={"BIND_ADDRESS": "127.0.0.2"}) as runtime:
        assert check(runtime.admin_port, "127.0.0.2") == 0
    assert check(runtime.admin_port, "127.0.0.2") == 1


def test_the_health_check_loads_nothing_but_the_standard_library() -> None:
    script = (
        "import sys; from agent_runtime.__main__ import main; main(['healthcheck']); "
        "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {script}"],
        capture_output=True,
        timeout=60,
        check=True,
        cwd=Path(__file__).parents[2],
        env={"ADMIN_PORT": "1"},
    )

    assert set(ended.stdout.decode().split()) <= {"__main__", "agent_runtime"}


@pytest.mark.parametrize("given", ["req-1", "a" * 128, "0af7651916cd43dd8448eb211c80319c"])
def test_a_request_id_of_the_caller_is_kept(echo_runtime: RuntimeProcess, given: str) -> None:
    response = echo_runtime.client.get("/health/live", headers={"X-Request-ID": given})

    assert response.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", 'a"b', "a{b}", "a/b"])
def test_a_request_id_that_could_do_harm_in_a_log_is_replaced(echo_runtime: RuntimeProcess, given: str) -> None:
    response = echo_runtime.client.get("/health/live", headers={"X-Request-ID": given})

    assert response.headers["x-request-id"] != given
    assert len(response.headers["x-request-id"]) == 32


def test_each_answer_has_the_common_headers(echo_runtime: RuntimeProcess) -> None:
    for response in (echo_runtime.chat(), echo_runtime.client.get("/nothing"), echo_runtime.client.get("/health/live")):
        assert float(response.headers["x-process-time"]) >= 0
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert "server" not in response.headers


def test_a_request_is_logged_in_one_line(provided: Provided) -> None:
    provided.provider.script({"usage": {"input_tokens": 3, "output_tokens": 4}})
    response = provided.runtime.chat("Hello", conversation_id=None)

    line = provided.runtime.request_line(response.headers["x-request-id"])

    assert line.pop("seconds") > 0
    assert line.pop("timestamp")
    assert line == {
        "event": "request",
        "level": "info",
        "service": "hello",
        "request_id": response.headers["x-request-id"],
        "method": "POST",
        "route": "/v1/chat",
        "status": 200,
        "outcome": "ok",
        "principal": "demo",
        "agent": "main",
        "conversation_id": response.json()["conversation_id"],
        "model": "main",
        "message_length": 5,
        "input_tokens": 3,
        "output_tokens": 4,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "web_searches": 0,
        "cost_usd": 0.000046,
    }


def test_metrics_count_requests_tokens_and_model_calls(provided: Provided) -> None:
    def counts() -> list[float]:
        runtime = provided.runtime
        return [
            runtime.metric("agent_requests_total", agent="main", protocol="chat", route="/v1/chat", status="200"),
            runtime.metric("agent_request_duration_seconds_count", agent="main", protocol="chat"),
            runtime.metric("agent_time_to_first_token_seconds_count", agent="main", model="main"),
            runtime.metric("agent_tokens_total", agent="main", model="main", kind="input"),
            runtime.metric("agent_tokens_total", agent="main", model="main", kind="cache_read"),
            runtime.metric("agent_model_calls_total", model="main", outcome="ok"),
            runtime.metric("agent_model_calls_total", model="main", outcome="upstream_unavailable"),
        ]

    before = counts()
    provided.provider.script({"status": 500}, {"usage": {"input_tokens": 3, "cache_read_input_tokens": 4}})
    request_id = provided.runtime.chat().headers["x-request-id"]
    provided.runtime.request_line(request_id)

    assert [after - was for after, was in zip(counts(), before, strict=True)] == [1, 1, 1, 3, 4, 1, 1]
    assert provided.runtime.metric("agent_build_info", version="0.1.0") == 1
    assert provided.runtime.metric("agent_concurrency_limit") == 20


def test_paths_that_do_not_exist_share_one_label(echo_runtime: RuntimeProcess) -> None:
    before = echo_runtime.metric("agent_requests_total", route="other", status="404")
    for number in range(3):
        echo_runtime.client.get(f"/nothing/{number}", headers={"X-API-Key": KEY})

    assert echo_runtime.metric("agent_requests_total", route="other", status="404") == before + 3
