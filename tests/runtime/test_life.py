"""The life of the process: what it refuses to start with, overload, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

import agent_runtime
from agent_runtime.agent.providers import check_credentials
from agent_runtime.api_keys import ApiKeys
from agent_runtime.settings import ConfigurationError, load_config
from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from tests.runtime.runtime_process import (
    PROVIDER_KEY,
    anthropic_model,
    echo_model,
    environment,
    runtime_process,
    write_config,
)

# Starting


def refusal(config: Path, **variables: str) -> str:
    """What the runtime says when it will not start."""
    ended = subprocess.run(
        [sys.executable, "-m", "agent_runtime"],
        env=environment(config, **variables),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended
    sentence = ended.stderr.decode()
    assert sentence.count("\n") == 1, sentence
    return sentence.strip()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"schema_version": 2},
            "schema_version 2 is newer than the 1 that this image understands; use a newer runtime",
        ),
        (
            {"max_concurrent_requests": 0},
            "max_concurrent_requests: Input should be greater than or equal to 1; correct",
        ),
        ({"default_agent": "nobody"}, "default_agent: there is no agent 'nobody', only main; correct"),
        (
            {"agents": [{"name": "main", "system_prompt": "", "model": "none"}]},
            "agents[main].model: there is no model 'none', only main; correct",
        ),
        ({"models": [echo_model(), echo_model()]}, "models: the name 'main' is given 2 times"),
        ({"models": [echo_model(provider="Anthropic")]}, "models[main].anthropic: is required for provider Anthropic"),
    ],
)
def test_a_configuration_that_cannot_serve_is_refused(tmp_path: Path, fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config(write_config(tmp_path, **fields))

    assert sentence in str(caught.value)


def test_a_missing_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.json"

    assert refusal(path) == (
        f"{path}: there is no such file; mount the ConfigMap there or name another file in AGENTSERVICE_CONFIG"
    )


def test_a_configuration_that_is_not_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("models: []")

    with pytest.raises(ConfigurationError, match=r"config\.json: is not JSON"):
        load_config(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read (No such file"),
        (" \n", "is empty"),
        ("test-key\nanother", "is no key: it has spaces, line breaks"),
        ("schlüssel", "is no key: it has spaces, line breaks"),
    ],
)
def test_a_model_without_its_key_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    credentials = tmp_path / "provider-key"
    if content is not None:
        credentials.write_text(content)
    config = load_config(write_config(tmp_path, models=[anthropic_model("main", "http://127.0.0.1:1", credentials)]))

    with pytest.raises(ConfigurationError) as caught:
        check_credentials(config)

    assert str(caught.value).startswith(f"models[main].anthropic.credentials_file: {credentials} {reason}")


async def test_a_service_that_nobody_could_call_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"holds no key; put one file per client"):
        ApiKeys(tmp_path)
    with pytest.raises(
        ConfigurationError, match=r"none: cannot be read \(No such file or directory\); mount the Secret"
    ):
        ApiKeys(tmp_path / "none")


@pytest.mark.parametrize("variable", ["PORT", "ADMIN_PORT"])
def test_a_taken_port_is_named(tmp_path: Path, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        sentence = refusal(write_config(tmp_path), **{variable: port})

    assert sentence == f"127.0.0.1:{port} cannot be listened on (Address already in use); set {variable} to a free port"


def test_an_address_of_another_host_is_named(tmp_path: Path) -> None:
    sentence = refusal(write_config(tmp_path), BIND_ADDRESS="192.0.2.1")

    assert sentence == (
        "192.0.2.1:0 cannot be listened on (Cannot assign requested address); "
        "set BIND_ADDRESS to an address of this host"
    )


def test_a_port_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "environment variable PORT: Input should be a valid integer" in refusal(write_config(tmp_path), PORT="http")


def test_fields_of_a_newer_operator_are_ignored(tmp_path: Path) -> None:
    with runtime_process(tmp_path, rate_limit={"requests": 1}) as runtime:
        assert runtime.chat().status_code == 200


def test_the_sdk_is_imported_only_for_models_that_need_it(tmp_path: Path) -> None:
    with runtime_process(tmp_path, command=("-X", "importtime", "-m", "agent_runtime"), warm=False) as runtime:
        imported = {line.rpartition("|")[2].strip() for line in runtime.child.log.read_text().splitlines()}

    assert "fastapi" in imported
    assert not imported & {"anthropic", "aiohttp", "httpx2"}


def test_a_process_that_is_told_to_end_before_it_serves_ends(tmp_path: Path) -> None:
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    config = write_config(tmp_path, models=[anthropic_model("main", "http://127.0.0.1:1", credentials)])
    process = subprocess.Popen(
        [sys.executable, "-m", "agent_runtime"], env=environment(config), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert orjson.loads(process.stdout.readline())["event"] == "starting"

    process.terminate()

    assert process.wait(timeout=30) == 0
    process.stdout.close()


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())

    assert agent_runtime.__version__ == project["project"]["version"]


# Overload and end


@pytest.fixture
def small(tmp_path: Path, provider: FakeMessagesApi) -> Any:
    """Starts a runtime that serves one request at once and lets one wait, on the test's own provider."""
    credentials = tmp_path / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    model = anthropic_model("main", provider.base_url, credentials)

    def start(**config: Any) -> Any:
        return runtime_process(tmp_path, models=[model], **config)

    return start


def test_what_neither_runs_nor_waits_is_refused_at_once(small: Any, provider: FakeMessagesApi) -> None:
    provider.script({"headers_delay": 2}, {"deltas": ["second"]})

    with small(max_concurrent_requests=1, max_queued_requests=1) as runtime, ThreadPoolExecutor() as callers:
        first = callers.submit(runtime.chat)
        wait_until(lambda: runtime.metric("agent_requests_in_flight") == 1, deadline=10)
        second = callers.submit(runtime.chat)
        wait_until(lambda: runtime.metric("agent_requests_queued") == 1, deadline=10)

        third = runtime.chat()

        assert (third.status_code, third.json()["code"]) == (503, "overloaded")
        assert int(third.headers["retry-after"]) > 0
        assert first.result().status_code == 200
        assert second.result().json()["message"] == "second"


def test_nothing_is_lost_when_a_replica_is_told_to_end(small: Any, provider: FakeMessagesApi) -> None:
    provider.script({"deltas": ["a", "b", "c", "d"], "delta_delay": 1.5})

    with small(lame_duck_seconds=2, drain_seconds=20) as runtime, ThreadPoolExecutor() as callers:
        answer = callers.submit(runtime.stream)
        wait_until(lambda: runtime.metric("agent_requests_in_flight") == 1, deadline=10)

        runtime.child.process.terminate()
        wait_until(lambda: runtime.probe("/readyz") == 503, deadline=10)
        assert runtime.probe("/livez") == 200
        # The lame duck: callers that don't know yet are served, and sent elsewhere for their next request.
        served = 0
        while runtime.phase == "lame duck":
            try:
                response = runtime.chat()
                nothing, ready = runtime.client.get("/nothing"), runtime.client.get("/health/ready")
            except httpx2.ConnectError:
                assert runtime.phase != "lame duck", "the lame duck refused a connection"
                break
            assert (response.status_code, response.headers["connection"]) == (200, "close")
            assert nothing.headers["connection"] == "close"
            assert ready.json()["code"] == "shutting_down"
            served += 1
        assert served > 0
        with pytest.raises(httpx2.ConnectError):
            runtime.chat()

        assert [event.type for event in answer.result()] == ["start", *["delta"] * 4, "usage", "done"]
        assert runtime.child.process.wait(timeout=15) == 0


def test_answers_that_outlast_the_drain_are_told(small: Any, provider: FakeMessagesApi) -> None:
    provider.script({"deltas": ["a", "b"], "delta_delay": 60, "times": 2})

    with small(drain_seconds=1) as runtime, ThreadPoolExecutor() as callers:
        stream, document = callers.submit(runtime.stream), callers.submit(runtime.chat)
        wait_until(lambda: runtime.metric("agent_requests_in_flight") == 2, deadline=10)
        wait_until(lambda: len(provider.requests()) == 2, deadline=10)

        runtime.child.process.terminate()

        last = stream.result()[-1]
        assert (last.type, last.data["code"]) == ("error", "shutting_down")
        assert (document.result().status_code, document.result().json()["code"]) == (503, "shutting_down")
        assert runtime.child.process.wait(timeout=15) == 0
    assert all(request["aborted"] for request in provider.requests())


def test_a_person_at_the_terminal_does_not_wait_for_the_lame_duck(tmp_path: Path) -> None:
    with runtime_process(tmp_path, lame_duck_seconds=60) as runtime:
        began = time.monotonic()
        runtime.child.process.send_signal(signal.SIGINT)

        assert runtime.child.process.wait(timeout=30) == 0
        assert time.monotonic() - began < 30


def test_a_second_signal_ends_the_drain(small: Any, provider: FakeMessagesApi) -> None:
    provider.script({"deltas": ["a", "b"], "delta_delay": 60})

    with small(lame_duck_seconds=60, drain_seconds=60) as runtime, ThreadPoolExecutor() as callers:
        stream = callers.submit(runtime.stream)
        wait_until(lambda: len(provider.requests()) == 1, deadline=10)
        runtime.child.process.terminate()
        wait_until(lambda: runtime.probe("/readyz") == 503, deadline=10)

        runtime.child.process.terminate()

        assert stream.result()[-1].data["code"] == "shutting_down"
        assert runtime.child.process.wait(timeout=15) == 0
