"""The ``ports.Kubernetes`` that unit tests need: a dictionary, and a list of what was asked of it.

How the real one answers is tested on a real API server; here only what the engine asks counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from agentservice_operator.engine.kinds import Kind
from agentservice_operator.engine.ports import Object


class FakeKubernetes:
    """Objects by kind, namespace and name."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.calls: list[tuple[str, str, str]] = []
        """(verb, kind, name), in order."""
        self.written: list[Object] = []
        self.written_by: list[tuple[str, Object]] = []
        """Applies and creates with their field manager."""
        self.before_answer: Callable[[], None] = lambda: None
        """Runs after an object was read or written and before the answer arrives."""
        self.refuses: Exception | None = None
        self._version = 1000

    def hold(self, kind: Kind, item: Object) -> Object:
        """Make an object exist."""
        meta = item["metadata"]
        self.objects[kind.kind, meta["namespace"], meta["name"]] = item
        return item

    def lose(self, kind: Kind, namespace: str, name: str) -> None:
        """Make an object not exist."""
        self.objects.pop((kind.kind, namespace, name), None)

    def verbs(self) -> list[str]:
        """What was asked since the last question."""
        verbs = [verb for verb, _, _ in self.calls]
        self.calls.clear()
        return verbs

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object."""
        self._called("get", kind, name)
        found = self.objects.get((kind.kind, namespace, name))
        self.before_answer()
        return found

    async def get_metadata(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Its metadata."""
        self._called("get_metadata", kind, name)
        found = self.objects.get((kind.kind, namespace, name))
        self.before_answer()
        return found and {"metadata": found["metadata"]}

    async def find(self, kind: Kind, namespace: str, *, field_selector: str, limit: int) -> list[Object]:
        """Every object of the kind that the selector's one field matches."""
        self._called("find", kind, field_selector)
        path, _, value = field_selector.partition("=")
        found = [item for (of, where, _), item in self.objects.items() if (of, where) == (kind.kind, namespace)]
        return [item for item in found if _field(item, path) == value][:limit]

    async def list(self, kind: Kind, namespace: str | None, *, label_selector: str | None = None) -> list[Object]:
        """Every object of the kind whose labels equal those of the selector."""
        self._called("list", kind, label_selector or "")
        wanted = dict(each.split("=") for each in label_selector.split(",")) if label_selector else {}
        found = [
            item for (of, where, _), item in self.objects.items() if of == kind.kind and namespace in (None, where)
        ]
        return [item for item in found if wanted.items() <= (item["metadata"].get("labels") or {}).items()]

    async def apply(self, kind: Kind, intent: Object, *, manager: str, force: bool = True) -> Object:
        """Replace the object."""
        self._called("apply" if force else "apply without force", kind, intent["metadata"]["name"])
        return self._write(kind, intent, manager, "")

    async def apply_status(self, kind: Kind, intent: Object, *, manager: str) -> Object:
        """Replace the status."""
        self._called("apply_status", kind, intent["metadata"]["name"])
        return self._write(kind, intent, manager, "status")

    async def create(self, kind: Kind, intent: Object, *, manager: str) -> Object:
        """Make the object."""
        self._called("create", kind, intent["metadata"]["name"])
        return self._write(kind, intent, manager, "")

    async def patch_metadata(self, kind: Kind, namespace: str, name: str, patch: Object, *, manager: str) -> Object:
        """Note the patch."""
        self._called("patch_metadata", kind, name)
        self.written.append({**patch, "manager": manager})
        return {"metadata": self.objects[kind.kind, namespace, name]["metadata"]}

    async def patch_json(
        self, kind: Kind, namespace: str, name: str, operations: Sequence[Object], *, manager: str
    ) -> Object:
        """Note the operations."""
        self._called("patch_json", kind, name)
        self.written.append({"operations": operations, "manager": manager})
        return {"metadata": self.objects[kind.kind, namespace, name]["metadata"]}

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete the object if it has that uid."""
        self._called("delete", kind, name)
        found = self.objects.get((kind.kind, namespace, name))
        if found is not None and found["metadata"]["uid"] == uid:
            self.lose(kind, namespace, name)

    def _called(self, verb: str, kind: Kind, name: str) -> None:
        self.calls.append((verb, kind.kind, name))
        if self.refuses is not None:
            raise self.refuses

    def _write(self, kind: Kind, intent: Object, manager: str, subresource: str) -> Object:
        self.written.append(intent)
        self.written_by.append((manager, intent))
        self._version += 1
        meta = intent["metadata"]
        before = self.objects.get((kind.kind, meta["namespace"], meta["name"]), {"metadata": {}})
        merged = {**before, **intent}
        merged["metadata"] = {
            "uid": "made-by-the-server",
            "creationTimestamp": "2026-11-21T00:00:00Z",
            **before["metadata"],
            **meta,
            "resourceVersion": str(self._version),
            "managedFields": [{"manager": manager, "subresource": subresource, "operation": "Apply"}],
        }
        self.hold(kind, merged)
        self.before_answer()
        return merged


def _field(item: Object, path: str) -> object:
    for part in path.split("."):
        item = item[part]
    return item
