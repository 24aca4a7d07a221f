"""What of a live object is ours: the intent that server-side apply has on record for a field manager.

After a restart, and after any event, no write is needed exactly if ``digest(intent) == digest(owned(live, manager))``.
A field that someone changed has left our record (an update takes ownership), one that was removed is gone from it too,
and what others added was never in it. So the comparison needs no schema, no defaults and no last-applied annotation.

It is exact for intents that survive the API server unchanged: canonical quantities, no nulls, no empty lists, atomic
values (``fieldRef``, a NetworkPolicy's ports) with their defaults spelled out. Golden tests hold the builders to that.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and FieldsV1 of structured-merge-diff.
"""

from __future__ import annotations

import hashlib
from types import NoneType
from typing import Any

import orjson

from agentservice_operator.engine.ports import Object

_SET_BY_SERVER = frozenset({"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"})

_SCALAR = (str, int, float, NoneType)
"""What merge keys and the items of sets are; a bool is an int."""


def digest(intent: Object) -> str:
    """Identify an intent by its values, whatever the order of its keys; 32 hexadecimal digits.

    The order of lists counts: server-side apply restores the order of the intent, also in lists that it merges by key.
    """
    metadata = intent.get("metadata") or {}
    if not _SET_BY_SERVER.isdisjoint(metadata):
        metadata = {name: value for name, value in metadata.items() if name not in _SET_BY_SERVER}
        intent = {**intent, "metadata": metadata}
    return hashlib.blake2b(orjson.dumps(intent, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def owned(live: Object, manager: str) -> Object:
    """Return the part of a live object that ``manager`` owns by server-side apply, as that manager would apply it.

    Args:
        live: a whole object with ``metadata.managedFields``. It is read only; the answer shares its leaves.
        manager: the field manager. Its plain updates and its subresources do not count.

    Returns:
        apiVersion, kind, name and namespace always; every owned field with its live value.
    """
    metadata = live["metadata"]
    fields, others = _records(live, manager)
    intent: Object = _owned_map(live, fields, others) if fields else {}
    intent["apiVersion"] = live["apiVersion"]
    intent["kind"] = live["kind"]
    identity = {name: metadata[name] for name in ("name", "namespace") if name in metadata}
    intent["metadata"] = {**intent.get("metadata", {}), **identity}
    return intent


def owns(live: Object, manager: str, path: tuple[str, ...]) -> bool:
    """Say whether ``manager`` owns the field at ``path``, such as ``("spec", "replicas")``, by server-side apply.

    An atomic value counts for all that is inside it.
    """
    fields, _ = _records(live, manager)
    if fields is None:
        return False
    for name in path:
        fields = fields.get(f"f:{name}")
        if fields is None:
            return False
        if not fields:
            return True
    return True


def _records(live: Object, manager: str) -> tuple[Object | None, list[Object]]:
    """Find what ``manager`` applied, and what everybody else owns.

    A record of another API version names other fields, and so does not count.
    """
    mine: Object | None = None
    others: list[Object] = []
    for entry in live["metadata"].get("managedFields") or ():
        fields = entry.get("fieldsV1") or {}
        if entry.get("manager") != manager or entry.get("operation") != "Apply" or entry.get("subresource"):
            others.append(fields)
        elif entry.get("apiVersion") == live["apiVersion"]:
            mine = fields
    return mine, others


def _owned(value: Any, fields: Object, others: list[Object]) -> Any:
    """Cut a value down to ``fields``; ``others`` are the records of the other managers at the same place."""
    if not fields:
        # The record looks the same for an atomic map and for an empty map that merges. Only inside the latter can
        # others own anything, and then the empty map is what we applied.
        return {} if isinstance(value, dict) and any(others) else value
    if isinstance(value, dict):
        return _owned_map(value, fields, others)
    if isinstance(value, list):
        return _owned_list(value, fields, others)
    return value


def _owned_map(live: Object, fields: Object, others: list[Object]) -> Object:
    return {
        name[2:]: _owned(live[name[2:]], child, _below(others, name) if others else others)
        for name, child in fields.items()
        if name[:2] == "f:" and name[2:] in live
    }


def _below(others: list[Object], name: str) -> list[Object]:
    return [other[name] for other in others if name in other]


def _owned_list(live: list[Any], fields: Object, others: list[Object]) -> list[Any]:
    """Pick our items, in the live order: ``v:`` names a value of a set, ``k:`` an item by its merge keys."""
    values: set[Any] = set()
    items: dict[tuple[str, ...], dict[tuple[Any, ...], str]] = {}
    for name in fields:
        if name[:2] not in ("v:", "k:"):
            continue
        named = _named(name)
        if isinstance(named, dict):
            items.setdefault(tuple(named), {})[tuple(named.values())] = name
        elif named is not None:
            values.add(named)
    result: list[Any] = []
    for item in live:
        if not isinstance(item, dict):
            if isinstance(item, _SCALAR) and item in values:
                result.append(item)
            continue
        for keys, names in items.items():
            of_item = tuple(item.get(key) for key in keys)
            found = names.get(of_item) if all(isinstance(key, _SCALAR) for key in of_item) else None
            if found is not None:
                result.append(_owned(item, fields[found], _below(others, found)))
                break
    return result


def _named(name: str) -> Any:
    """Whom ``v:`` or ``k:`` names: a value, or merge keys and their values; None where it can be no item of a list.

    Whoever may write an object may write its managedFields, too, and there the API server takes any JSON.
    """
    try:
        named = orjson.loads(name[2:])
    except orjson.JSONDecodeError:
        return None
    parts = named.values() if isinstance(named, dict) and name[0] == "k" else (named,)
    return named if all(isinstance(part, _SCALAR) for part in parts) else None
