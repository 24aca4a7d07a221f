"""A sink that remembers what it was given, and the state that follows from it."""

from __future__ import annotations

from agentservice_operator.engine.ports import Name, Object


class RecordingSink:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        """``end_list VERSION``, ``put NAME`` and ``remove NAME``, in order."""
        self.state: dict[Name, Object] = {}
        """By namespace and name."""

    def put_listed(self, item: Object) -> None:
        self.state[_key(item)] = item

    def end_list(self, names: set[Name], resource_version: str, namespace: str | None) -> None:
        self.calls.append(("end_list", resource_version))
        for key in self.state.keys() - names:
            if namespace in {None, key[0]}:
                del self.state[key]

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


def _key(item: Object) -> Name:
    return item["metadata"]["namespace"], item["metadata"]["name"]
