"""Without a configuration: a laptop or compose, with variables or a file .env."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest

from agent_runtime.local import local_config
from agent_runtime.settings import Environment
from dev import servers
from dev.fake_messages_api import FakeMessagesApi
from dev.process import Child, running, wait_until
from dev.servers import Postgresql
from tests.runtime.conftest import url_of_new_database
from tests.runtime.runtime_process import PROVIDER_KEY, READY_SECONDS

ROOT = Path(__file__).parents[2]


@contextmanager
def started(folder: Path, command: str = "serve", **variables: str) -> Iterator[Child]:
    """The runtime in `folder`, told nothing but `variables`."""
    ours = {"PYTHONPATH": str(ROOT), "BIND_ADDRESS": "127.0.0.1", "PORT": "0", "ADMIN_PORT": "0"}
    env = {"PATH": os.environ["PATH"], **ours, **variables}
    arguments = [sys.executable, "-m", "agent_runtime", command]
    with running(arguments, name=command, log=folder / f"log of {command}", env=env, cwd=folder, grace=15) as child:
        yield child


def logged(child: Child, event: str) -> dict[str, Any]:
    """The line of its log that tells of an event, once it is there."""

    def line() -> dict[str, Any] | None:
        child.require_running()
        lines = [orjson.loads(line) for line in child.log.read_text().splitlines() if line.startswith("{")]
        return next((line for line in lines if line["event"] == event), None)

    return wait_until(line, deadline=READY_SECONDS, describe=child.log_tail)


def address(child: Child) -> str:
    """Where it answers, once it does."""
    logged(child, "ready")
    return f"http://127.0.0.1:{logged(child, 'starting')['port']}"


def chat(child: Child, key: str) -> dict[str, Any]:
    """An answer, once it serves."""
    response = httpx2.post(
        f"{address(child)}/v1/chat", json={"message": "Hello"}, headers={"X-API-Key": key}, timeout=30
    )
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def key_of(folder: Path) -> str:
    """The key that the runtime makes for callers, once it is there."""
    file = folder / "agentservice-data" / "api-keys" / "default"
    wait_until(file.exists, deadline=READY_SECONDS)
    return wait_until(file.read_text, deadline=5)


def refusal(folder: Path, command: str = "serve", **variables: str) -> str:
    """What it says where it does not start."""
    with started(folder, command, **variables) as child:
        assert wait_until(lambda: child.exit_code, deadline=READY_SECONDS, describe=child.log_tail) == 2
        return child.log_tail()


def test_with_nothing_at_all_echo_answers_and_the_key_stays(tmp_path: Path) -> None:
    with started(tmp_path) as child:
        key = key_of(tmp_path)
        answer = chat(child, key)

    assert answer["model"] == "echo"
    assert key not in child.log.read_text()
    assert (tmp_path / "agentservice-data" / "api-keys" / "default").stat().st_mode & 0o077 == 0
    child.log.unlink()
    with started(tmp_path) as child:
        chat(child, key)


def test_a_file_says_what_the_environment_does_not(tmp_path: Path, provider: FakeMessagesApi) -> None:
    provider.script({"valid_key": PROVIDER_KEY, "deltas": ["The key was right."]})
    (tmp_path / ".env").write_text(f"ANTHROPIC_API_KEY={PROVIDER_KEY}\nLOG_LEVEL=debug\nUNKNOWN=1\n")

    with started(tmp_path, ANTHROPIC_BASE_URL=provider.base_url, ENVIRONMENT="production") as child:
        answer = chat(child, key_of(tmp_path))

    assert answer["message"] == "The key was right."
    assert PROVIDER_KEY not in child.log.read_text()


def test_conversations_are_kept_where_database_url_says(tmp_path: Path, postgresql: Postgresql) -> None:
    url = url_of_new_database(postgresql, tmp_path).read_text()

    with started(tmp_path, DATABASE_URL=url) as child:
        chat(child, key_of(tmp_path))

    assert postgresql.execute("SELECT count(*) FROM conversations", url.rpartition("/")[2]) == "1"
    assert not list((tmp_path / "agentservice-data").glob("state.db*"))


def test_a_worker_runs_tasks_beside_the_server_when_both_are_told_the_same(
    tmp_path: Path, postgresql: Postgresql, provider: FakeMessagesApi
) -> None:
    shared = {"ANTHROPIC_API_KEY": PROVIDER_KEY, "ANTHROPIC_BASE_URL": provider.base_url}
    shared["DATABASE_URL"] = url_of_new_database(postgresql, tmp_path).read_text()
    provider.script({"headers_delay": 60, "times": "always"})
    with servers.redis(tmp_path) as shared["REDIS_URL"], started(tmp_path, "worker", **shared) as worker:
        logged(worker, "ready")
        assert not (tmp_path / "agentservice-data").exists(), "a worker has neither callers nor a database of its own"
        with started(tmp_path, **shared) as server:
            for child in (worker, server):
                logged(child, "redis is used")

            with httpx2.Client(base_url=address(server), headers={"X-API-Key": key_of(tmp_path)}) as client:
                for _ in range(15):
                    assert client.post("/v1/tasks", json={"message": "Hi"}).status_code == 202

                def running_tasks() -> int:
                    return len(client.get("/v1/tasks?status=running&limit=100").json()["items"])

                # One process runs ten at a time.
                wait_until(lambda: running_tasks() > 10, deadline=30, describe=worker.log_tail)
            for child in (worker, server):
                child.kill()


def test_a_worker_without_a_database_says_which_variable_is_missing(tmp_path: Path) -> None:
    assert "DATABASE_URL is not set: a worker needs the database" in refusal(tmp_path, "worker")


def test_credentials_that_a_server_refuses_are_said_of_the_variable(tmp_path: Path, postgresql: Postgresql) -> None:
    said = refusal(tmp_path, DATABASE_URL=postgresql.url("postgres", password="hidden"))

    assert "DATABASE_URL: leads to a database that fails: it refuses the credentials" in said
    assert "hidden" not in said


def test_the_file_says_as_much_as_the_environment(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / ".env").write_text(f"BIND_ADDRESS=127.0.0.1\nADMIN_PORT=0\nPORT={port}\nLOG_FORMAT=text\n")

        said = refusal(tmp_path, BIND_ADDRESS="", PORT="", ADMIN_PORT="")

    assert f"127.0.0.1:{port} cannot be listened on" in said


def test_origins_of_web_pages_are_separated_by_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example, http://localhost:3000,")

    with local_config("development") as config:
        assert config.cors_allowed_origins == ("https://a.example", "http://localhost:3000")


@pytest.mark.parametrize(("environment", "described"), [("development", True), ("production", False)])
def test_the_api_is_described_but_in_production(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: Environment, *, described: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC_API_KEY", PROVIDER_KEY)

    with local_config(environment) as config:
        assert config.api_docs is described


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"ENVIRONMENT": "production"}, "ANTHROPIC_API_KEY is not set"),
        ({"ENVIRONMENT": "prod"}, "environment variable ENVIRONMENT: Input should be 'development' or 'production'"),
        (
            {"ENVIRONMENT": "production", "ANTHROPIC_API_KEY": PROVIDER_KEY, "CORS_ORIGINS": "*"},
            "CORS_ORIGINS: * lets any web page ask, which ENVIRONMENT=production refuses",
        ),
        ({"CORS_ORIGINS": "https://a.example/"}, "environment variable CORS_ORIGINS.0: String should match pattern"),
        ({"LOG_LEVEL": "loud"}, "environment variable LOG_LEVEL: Input should be"),
        ({"ANTHROPIC_API_KEY": "hidden key"}, "ANTHROPIC_API_KEY is no key: it has spaces"),
        (
            {"DATABASE_URL": "mysql://user:hidden@db/agents"},
            "DATABASE_URL: is no URL that begins with postgresql://; put a URL postgresql://USER:PASSWORD@HOST/DATABASE",
        ),
        ({"DATABASE_URL": "postgresql://user:hidden@db"}, "DATABASE_URL: names no database after the host; put a URL"),
        (
            {"REDIS_URL": "http://:hidden@cache"},
            "REDIS_URL: is no URL that begins with redis:// or rediss://; put a URL redis://:PASSWORD@HOST there",
        ),
        ({"AGENTSERVICE_DATA": "/proc/none"}, "AGENTSERVICE_DATA /proc/none: cannot be used"),
        ({"AGENTSERVICE_REVISION": "of-a-pod"}, "/etc/agentservice/config.json: there is no such file"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(tmp_path: Path, variables: dict[str, str], says: str) -> None:
    said = refusal(tmp_path, **variables)

    assert says in said
    assert "hidden" not in said


def test_production_takes_no_key_that_could_be_guessed(tmp_path: Path) -> None:
    keys = tmp_path / "agentservice-data" / "api-keys"
    keys.mkdir(parents=True)
    (keys / "default").write_text("changeme")

    said = refusal(tmp_path, ENVIRONMENT="production", ANTHROPIC_API_KEY=PROVIDER_KEY)

    assert "holds no key of 24 bytes or more" in said


def test_logs_are_text_where_asked_for(tmp_path: Path) -> None:
    with started(tmp_path, LOG_FORMAT="text") as child:
        wait_until(lambda: "ready" in child.log_tail(), deadline=READY_SECONDS, describe=child.log_tail)

        assert not [line for line in child.log.read_text().splitlines() if line.startswith("{")]
