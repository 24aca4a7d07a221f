"""Without a configuration: a laptop or compose, with variables or a file .env."""

from __future__ import annotations

import os
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
from dev.fake_messages_api import FakeMessagesApi
from dev.process import Child, running, wait_until
from dev.servers import Postgresql
from tests.runtime.conftest import url_of_new_database
from tests.runtime.runtime_process import PROVIDER_KEY, READY_SECONDS

ROOT = Path(__file__).parents[2]


@contextmanager
def started(folder: Path, **variables: str) -> Iterator[Child]:
    """The runtime in `folder`, told nothing but `variables`."""
    ours = {"PYTHONPATH": str(ROOT), "BIND_ADDRESS": "127.0.0.1", "PORT": "0", "ADMIN_PORT": "0"}
    env = {"PATH": os.environ["PATH"], **ours, **variables}
    command = [sys.executable, "-m", "agent_runtime"]
    with running(command, name="runtime", log=folder / "log", env=env, cwd=folder, grace=15) as child:
        yield child


def chat(child: Child, key: str) -> dict[str, Any]:
    """An answer, once it serves."""

    def port() -> int | None:
        child.require_running()
        lines = [orjson.loads(line) for line in child.log.read_text().splitlines() if line.startswith("{")]
        if not any(line["event"] == "ready" for line in lines):
            return None
        return int(next(line["port"] for line in lines if line["event"] == "starting"))

    url = f"http://127.0.0.1:{wait_until(port, deadline=READY_SECONDS, describe=child.log_tail)}/v1/chat"
    response = httpx2.post(url, json={"message": "Hello"}, headers={"X-API-Key": key}, timeout=30)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def key_of(folder: Path) -> str:
    """The key that the runtime makes for callers, once it is there."""
    file = folder / "agentservice-data" / "api-keys" / "default"
    wait_until(file.exists, deadline=READY_SECONDS)
    return wait_until(file.read_text, deadline=5)


def refusal(folder: Path, **variables: str) -> str:
    """What it says where it does not start."""
    with started(folder, **variables) as child:
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
            "cors_allowed_origins: * lets any web page ask, which ENVIRONMENT=production refuses",
        ),
        ({"CORS_ORIGINS": "https://a.example/"}, "environment variable CORS_ORIGINS.0: String should match pattern"),
        ({"LOG_LEVEL": "loud"}, "environment variable LOG_LEVEL: Input should be"),
        ({"DATABASE_URL": "mysql://user:hidden@db/agents"}, "DATABASE_URL is no postgresql:// URL"),
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
