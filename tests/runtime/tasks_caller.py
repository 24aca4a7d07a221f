"""A caller of the tasks API, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from dev.fake_messages_api import FakeMessagesApi
from dev.process import wait_until
from tests.runtime.runtime_process import KEY, OTHER_KEY, Event, RuntimeProcess, parse_events

FINISHED = {"completed", "failed", "canceled"}


class Tasks:
    """A caller, with a key of a runtime, whose models are on a provider."""

    def __init__(self, runtime: RuntimeProcess, provider: FakeMessagesApi, key: str = KEY) -> None:
        self.runtime = runtime
        self.provider = provider
        self.key = key

    def call(self, method: str, path: str = "", **options: Any) -> httpx2.Response:
        headers = {"X-API-Key": self.key, **options.pop("headers", {})}
        return self.runtime.client.request(method, f"/v1/tasks{path}", headers=headers, **options)

    def create(self, message: str = "What is it?", **fields: Any) -> dict[str, Any]:
        response = self.call("POST", json={"message": message, **fields})
        assert response.status_code == 202, response.text
        task: dict[str, Any] = response.json()
        assert response.headers["location"] == f"/v1/tasks/{task['id']}"
        return task

    def get(self, task: dict[str, Any]) -> dict[str, Any]:
        response = self.call("GET", f"/{task['id']}")
        assert response.status_code == 200, response.text
        document: dict[str, Any] = response.json()
        return document

    def until(self, task: dict[str, Any], *statuses: str) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            now = self.get(task)
            return now if now["status"] in statuses else None

        return wait_until(reached, deadline=20, describe=lambda: str(self.get(task)))

    def finished(self, task: dict[str, Any]) -> dict[str, Any]:
        return self.until(task, *FINISHED)

    def events(self, task: dict[str, Any], *, after: int | None = None) -> list[Event]:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        return parse_events(self.call("GET", f"/{task['id']}/events", headers=headers).text)

    @contextmanager
    def following(self, task: dict[str, Any]) -> Iterator[Iterator[str]]:
        """The events of a task as they come, in pieces of text."""
        headers = {"X-API-Key": self.key}
        with self.runtime.client.stream("GET", f"/v1/tasks/{task['id']}/events", headers=headers) as response:
            assert response.status_code == 200
            yield response.iter_text()

    def of_another(self) -> Tasks:
        return Tasks(self.runtime, self.provider, OTHER_KEY)
