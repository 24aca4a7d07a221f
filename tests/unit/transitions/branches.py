"""The branches of the spec, which are its objects, lists and maps: what breaks each of them, out of its schema."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tests.unit.transitions.cases import settings
from tests.unit.transitions.leaves import ITEMS, VALUES, Leaf, Spec, schema, value_at, with_value, without

KEYS, LIST_TYPE = "x-kubernetes-list-map-keys", "x-kubernetes-list-type"
NO_BOUNDS = {"properties", "items", "additionalProperties", "description", "default", "x-kubernetes-validations"}
"""Words of a schema that do not bound the branch itself; rules of our own have ``tests/unit/api/refusals.py``."""


@dataclass(frozen=True)
class Broken:
    """A spec in which one bound of a branch is broken.

    Args:
        branch: which, with its own part of the schema.
        bound: the word of the schema.
        spec: all of it.
    """

    branch: Leaf
    bound: str
    spec: Spec = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.branch}: {self.bound}"


@cache
def branches() -> tuple[Leaf, ...]:
    """All branches below spec."""
    return tuple(branch for branch in _branches(schema(), ()) if branch.parts)


def broken(branch: Leaf) -> list[Broken]:
    """Every bound of a branch broken, where a setting has it; required fields one after the other."""
    found = []
    for spec in settings():
        for place in branch.places(spec)[:1]:
            there = value_at(spec, place)
            found += [Broken(branch, bound, with_value(spec, place, value)) for bound, value in _values(branch, there)]
            for name in branch.schema.get("required", ()):
                found.append(Broken(branch, "required", without(spec, (*place, name))))
    return found


def unbroken(branch: Leaf) -> set[str]:
    """The bounds of a branch that no case breaks."""
    bounds = set(branch.schema) - NO_BOUNDS
    if branch.schema.get(LIST_TYPE) in {"atomic", "map"}:  # no bound, or the one of its keys
        bounds.remove(LIST_TYPE)
    return bounds - {case.bound for case in broken(branch)}


def _values(branch: Leaf, value: Any) -> Iterator[tuple[str, Any]]:
    bounds = branch.schema
    yield "type", "text"
    yield "type", {} if bounds["type"] == "array" else []
    if "minItems" in bounds:
        yield "minItems", value[: bounds["minItems"] - 1]
    if "maxItems" in bounds:
        yield "maxItems", [_another(value[0], bounds, number) for number in range(bounds["maxItems"] + 1)]
    if "maxProperties" in bounds:
        entry = next(iter(value.values()))
        yield "maxProperties", {f"key-{number}": entry for number in range(bounds["maxProperties"] + 1)}
    for unique in (KEYS, LIST_TYPE):
        if unique in bounds and bounds[unique] != "atomic":
            yield unique, [*value, value[0]]


def _another(item: Any, bounds: dict[str, Any], number: int) -> Any:
    """An item like the one that is there, with another key."""
    if isinstance(item, str):
        return f"{item}{number}"
    other = copy.deepcopy(item)
    for key in bounds.get(KEYS, [])[:1]:
        other[key] = f"{item[key]}{number}"
    return other


def _branches(below: dict[str, Any], parts: tuple[str, ...]) -> Iterator[Leaf]:
    if below.get("type") not in {"object", "array"} or "x-kubernetes-preserve-unknown-fields" in below:
        return
    yield Leaf(parts, below)
    for name, inner in below.get("properties", {}).items():
        yield from _branches(inner, (*parts, name))
    for word, part in (("items", ITEMS), ("additionalProperties", VALUES)):
        if word in below:
            yield from _branches(below[word], (*parts, part))
