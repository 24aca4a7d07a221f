"""Every example runs on a laptop: ``agentctl run -f examples/...``, and what it prints gets an answer."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import orjson
import pytest
from agentservice_operator.builders.references import references
from agentservice_operator.cli.documents import read_documents
from agentservice_operator.cli.render import agent_services, parse_document

from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from tests.agentctl import Agentctl, answer
from tests.runtime.conftest import url_of_new_database
from tests.runtime.runtime_process import PROVIDER_KEY

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_answers(
    tmp_path: Path, example: Path, provider: FakeMessagesApi, request: pytest.FixtureRequest
) -> None:
    secrets = _secrets(tmp_path, example, request)

    # A model of the real provider is reached at the fake: the SDK takes its address from the environment.
    agentctl = Agentctl(tmp_path, example.read_text(), *secrets, ANTHROPIC_BASE_URL=provider.base_url)
    try:
        command = agentctl.curl_command()
        said = orjson.loads(answer(command))
        task = [part.replace("/v1/chat", "/v1/tasks") for part in command]
        done = _done(task, orjson.loads(answer(task)))
    finally:
        code = agentctl.end(signal.SIGTERM)

    assert said["message"], said
    assert said["conversation_id"]
    assert done["status"] == "completed", done
    assert code == 0, agentctl.output


def _done(command: list[str], task: dict[str, Any]) -> dict[str, Any]:
    """The task when it has come to its end, which one process alone brings it to."""
    ask = command[: command.index("-d")]
    ask[:] = [f"{part}/{task['id']}" if part.endswith("/v1/tasks") else part for part in ask]

    def ended() -> dict[str, Any] | None:
        seen: dict[str, Any] = orjson.loads(answer(ask))
        return seen if seen["completed_at"] else None

    return wait_until(ended, deadline=30, describe=lambda: answer(ask))


def _secrets(folder: Path, example: Path, request: pytest.FixtureRequest) -> list[str]:
    """Options with a file for every Secret that an example refers to."""
    [document] = agent_services(read_documents(example))
    service = parse_document(document, "default")
    database, redis = (
        server and (server.url_from.secret_key_ref.name, server.url_from.secret_key_ref.key)
        for server in (service.spec.state.postgresql, service.spec.state.redis)
    )
    options = []
    for number, reference in enumerate(references(service).secrets):
        if reference == database:
            file = url_of_new_database(request.getfixturevalue("postgresql"), folder)
        elif reference == redis:
            file = folder / "redis-url"
            file.write_text("redis://127.0.0.1:1")  # nobody is there: what is one process needs no waking
        else:
            file = folder / f"secret-{number}"
            file.write_text(PROVIDER_KEY)
        options.append(f"--secret={'/'.join(reference)}={file}")
    return options
