"""Shared runtimes: starting one takes longer than most tests, so tests that leave it as it was share one per worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx2
import pytest

from dev.fake_messages_api import FakeMessagesApi, running
from tests.runtime.runtime_process import PROVIDER_KEY, RuntimeProcess, anthropic_model, runtime_process

REQUEST_TIMEOUT_SECONDS = 6
"""Of the shared runtime with a provider; one test waits for it."""


@dataclass(frozen=True)
class Provided:
    """A runtime whose models are on a fake provider."""

    runtime: RuntimeProcess
    provider: FakeMessagesApi


@pytest.fixture(scope="session")
def echo_runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    """A runtime with the provider Echo."""
    with runtime_process(tmp_path_factory.mktemp("echo")) as runtime:
        yield runtime


@pytest.fixture(scope="session")
def _provided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provided]:
    directory = tmp_path_factory.mktemp("provided")
    credentials = directory / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    with running() as provider:
        models = [
            anthropic_model("main", provider.base_url, credentials),
            anthropic_model("single-try", provider.base_url, credentials, retries=0),
            anthropic_model("impatient", provider.base_url, credentials, retries=1, first_token_timeout_seconds=0.3),
        ]
        with runtime_process(directory, models=models, request_timeout_seconds=REQUEST_TIMEOUT_SECONDS) as runtime:
            yield Provided(runtime, provider)


@pytest.fixture
def provided(_provided: Provided) -> Provided:
    """A runtime with agents main, single-try and impatient on a fake provider, which waits for its scripts."""
    for path in ("/_script", "/_requests"):
        httpx2.delete(_provided.provider.base_url + path)
    return _provided


@pytest.fixture
def provider() -> Iterator[FakeMessagesApi]:
    """A fake provider of the test's own."""
    with running() as provider:
        yield provider
