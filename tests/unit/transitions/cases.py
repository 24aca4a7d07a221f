"""What can be done to a leaf: a change, its deletion, a value at its bounds, a broken one; each with a spec around it.

Source: Acto, SOSP '23, https://github.com/xlab-uiuc/acto
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from agentservice_operator.api.v1alpha1.parse import InvalidSpec, parse

from tests.unit.transitions.leaves import Leaf, Place, Spec, leaves, value_at, with_value, without
from tests.unit.transitions.values import bounds, by_hand, others, refused

SETTINGS = Path(__file__).parent / "settings.yaml"


class Sort(StrEnum):
    """What is done to the leaf."""

    CHANGE = "change"
    DELETE = "delete"
    BOUND = "bound"
    REFUSED = "refused"
    REJECTED = "rejected"
    """Taken in an AgentService, refused in a child."""


NEEDED = (Sort.CHANGE, Sort.DELETE, Sort.BOUND, Sort.REFUSED)
"""Of every leaf."""

WITHOUT = {
    ("spec.defaultModel", Sort.BOUND): "it is one of the names, whose bounds are tried where they are given",
    ("spec.agents[].model", Sort.BOUND): "it is one of the names, whose bounds are tried where they are given",
    ("spec.defaultAgent", Sort.BOUND): "it is one of the names, whose bounds are tried where they are given",
}
"""What cannot be done to a leaf, and why."""
MOST_CHANGES = 5
"""Of one leaf: one more of the same kind finds nothing."""


@dataclass(frozen=True)
class Case:
    """One thing done to one leaf.

    Args:
        leaf: which.
        sort: what.
        place: where the leaf stands in ``before``.
        value: the new one; None where the leaf is deleted.
        before: a valid spec.
        after: the same with the leaf changed.
        valid: whether the outcome is a valid spec; a leaf that is required cannot be deleted.
    """

    leaf: Leaf
    sort: Sort
    place: Place
    value: Any = field(compare=False)
    before: Spec = field(compare=False, repr=False)
    after: Spec = field(compare=False, repr=False)
    valid: bool

    def __str__(self) -> str:
        shown = "" if self.sort is Sort.DELETE else f" {self.value!r}"
        return f"{self.leaf} {self.sort}{shown if len(shown) <= 60 else shown[:50] + '...'}"


@cache
def settings() -> tuple[Spec, ...]:
    """Specs that hold every leaf between them."""
    return tuple(yaml.safe_load_all(SETTINGS.read_text()))


@cache
def cases(leaf: Leaf) -> tuple[Case, ...]:
    """Everything that is done to a leaf, each value once, where the first setting allows it."""
    found: dict[tuple[Sort, str], Case] = {}
    for case in _everywhere(leaf):
        found.setdefault((case.sort, repr(case.value)), case)
    changes = [case for case in found.values() if case.sort is Sort.CHANGE][:MOST_CHANGES]
    return (*changes, *(case for case in found.values() if case.sort is not Sort.CHANGE))


def all_cases(*sorts: Sort) -> list[Case]:
    """The cases of some sorts for all leaves."""
    return [case for leaf in leaves() for case in cases(leaf) if case.sort in sorts]


def coverage() -> tuple[int, int]:
    """How many leaves have cases of every sort that they can have, and how many there are."""
    return sum(not missing(leaf) for leaf in leaves()), len(leaves())


def missing(leaf: Leaf) -> list[Sort]:
    """The sorts of cases that a leaf should have and has not."""
    there = {case.sort for case in cases(leaf)}
    return [sort for sort in NEEDED if sort not in there and (str(leaf), sort) not in WITHOUT]


def is_valid(spec: Spec) -> bool:
    """Whether a spec obeys all rules."""
    try:
        parse({"metadata": {"name": "hello", "namespace": "default"}, "spec": spec}, as_written=True)
    except InvalidSpec:
        return False
    return True


def names_in(spec: Spec) -> list[str]:
    """What models and agents are called: references choose from these."""
    return [entry["name"] for part in ("models", "agents") for entry in spec[part]]


def _everywhere(leaf: Leaf) -> Iterator[Case]:
    for spec in settings():
        for place in leaf.places(spec):
            yield from _at(leaf, spec, place)


def _at(leaf: Leaf, spec: Spec, place: Place) -> Iterator[Case]:
    value = value_at(spec, place)
    deleted = without(spec, place)
    yield Case(leaf, Sort.DELETE, place, None, spec, deleted, is_valid(deleted))
    valid = ((Sort.CHANGE, others(leaf, value, names_in(spec))), (Sort.BOUND, bounds(leaf, value)))
    for sort, values in valid:
        for other in values:
            after = with_value(spec, place, other)
            if is_valid(after):
                yield Case(leaf, sort, place, other, spec, after, valid=True)
    for siblings in by_hand(leaf).together:
        around = {**value_at(spec, place[:-1]), **siblings}
        after = with_value(spec, place[:-1], {name: each for name, each in around.items() if each is not None})
        if after != spec and is_valid(after):
            yield Case(leaf, Sort.CHANGE, place, siblings[leaf.parts[-1]], spec, after, valid=True)
    for other in refused(leaf):
        yield Case(leaf, Sort.REFUSED, place, other, spec, with_value(spec, place, other), valid=False)
    for other in by_hand(leaf).rejected:
        yield Case(leaf, Sort.REJECTED, place, other, spec, with_value(spec, place, other), valid=True)
