"""A sink that remembers what it was given, and the state that follows from it."""

from __future__ import annotations

from collections.abc import Iterable

from agentservice_operator.engine.ports import Object


class RecordingSink:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        """``replace VERSION``, ``put NAME`` and ``remove NAME``, in order."""
        self.state: dict[tuple[str | None, str], Object] = {}
        """By namespace and name."""

    def replace(self, objects: Iterable[Object], resource_version: str, namespace: str | None) -> None:
        self.calls.append(("replace", resource_version))
        if namespace is None:
            self.state.clear()
        for key in [key for key in self.state if key[0] == namespace]:
            del self.state[key]
        self.state |= {_key(item): item for item in objects}

    def put(self, item: Object) -> None:
        self.calls.append(("put", item["metadata"]["name"]))
        self.state[_key(item)] = item

    def remove(self, item: Object) -> None:
        self.calls.append(("remove", item["metadata"]["name"]))
        self.state.pop(_key(item), None)

    @property
    def names(self) -> list[str]:
        return sorted(name for _, name in self.state)

    def count(self, call: str) -> int:
        return sum(name == call for name, _ in self.calls)


def _key(item: Object) -> tuple[str | None, str]:
    return item["metadata"].get("namespace"), item["metadata"]["name"]
