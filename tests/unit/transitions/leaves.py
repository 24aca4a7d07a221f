"""The leaves of the spec, out of the OpenAPI schema in ``crds/``, and how to reach one inside a spec."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Spec = dict[str, Any]
Place = tuple[str | int, ...]
"""Where a value stands in a spec: ``("models", 0, "name")``."""

CRD = Path(__file__).parents[3] / "crds" / "agentservice.dev_agentservices.yaml"
ITEMS, VALUES = "[]", "*"
"""Stand in the path of a leaf for any item of a list, and for any key of a map."""


@dataclass(frozen=True)
class Leaf:
    """A property below which the schema says nothing more.

    Args:
        parts: its path below spec, with ``[]`` and ``*``.
        schema: its own part of the schema.
    """

    parts: tuple[str, ...]
    schema: dict[str, Any] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return "spec" + "".join(part if part == ITEMS else f".{part}" for part in self.parts)

    def places(self, spec: Spec) -> list[Place]:
        """Where it stands in a spec: once for each item and key on its way, nowhere where it is absent."""
        return list(_places(spec, self.parts))


@cache
def leaves() -> tuple[Leaf, ...]:
    """All leaves of the spec."""
    return tuple(_leaves(schema(), ()))


@cache
def schema() -> dict[str, Any]:
    """The schema of the spec."""
    version = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]
    spec: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def value_at(spec: Spec, place: Place) -> Any:
    """What stands at a place."""
    here: Any = spec
    for part in place:
        here = here[part]
    return here


def with_value(spec: Spec, place: Place, value: Any) -> Spec:
    """The spec with another value at a place that is there, or that one more key or item makes."""
    changed = copy.deepcopy(spec)
    parent, last = value_at(changed, place[:-1]), place[-1]
    if isinstance(parent, list) and last == len(parent):
        parent.append(copy.deepcopy(value))
    else:
        parent[last] = copy.deepcopy(value)
    return changed


def without(spec: Spec, place: Place) -> Spec:
    """The spec without what stands at a place."""
    changed = copy.deepcopy(spec)
    del value_at(changed, place[:-1])[place[-1]]
    return changed


def _leaves(below: dict[str, Any], parts: tuple[str, ...]) -> Iterator[Leaf]:
    if "properties" in below:
        for name, inner in below["properties"].items():
            yield from _leaves(inner, (*parts, name))
    elif below.get("type") == "array":
        yield from _leaves(below["items"], (*parts, ITEMS))
    elif "additionalProperties" in below:
        yield from _leaves(below["additionalProperties"], (*parts, VALUES))
    else:
        yield Leaf(parts, below)


def _places(here: Any, parts: tuple[str, ...], before: Place = ()) -> Iterator[Place]:
    if not parts:
        yield before
        return
    part, rest = parts[0], parts[1:]
    keys: list[Any] = []
    if part == ITEMS and isinstance(here, list):
        keys = list(range(len(here)))
    elif isinstance(here, dict):
        keys = list(here) if part == VALUES else [part] if part in here else []
    for key in keys:
        yield from _places(here[key], rest, (*before, key))
