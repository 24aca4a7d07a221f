"""Random walks through specs: a few edits one after the other, each of which is one that a person might make."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.unit.transitions.cases import is_valid, names_in, settings
from tests.unit.transitions.leaves import Leaf, Place, Spec, leaves, value_at, with_value, without
from tests.unit.transitions.values import bounds, others

LENGTH = 5
"""Edits of a walk that are valid."""
MOST_REFUSED = 2
"""Invalid edits that are tried before each of them."""
MOST_PODS = 4
"""What a spec may ask for: further pods take time and find nothing."""
LONGEST_QUANTITY = 10
"""Characters of a quantity that a node may have."""
_OTHERS = 0.7
"""How often a value is set to another one, and not to one of its bounds."""
_AWAITED = 0.5
"""How often the next edit waits for the end of one."""
_SMALLEST: Spec = {
    "models": [{"name": "main", "provider": "Echo"}],
    "agents": [{"name": "assistant", "systemPrompt": "Be brief."}],
}


@dataclass(frozen=True)
class Step:
    """One edit.

    Args:
        what: in words.
        spec: the whole spec after it.
        refused: whether it breaks a rule, so that the spec before it stays.
        awaited: whether the next one waits until this one has come to its end.
    """

    what: str
    spec: Spec
    refused: bool = False
    awaited: bool = False


@dataclass(frozen=True)
class Walk:
    """Edits one after the other; the first makes the AgentService.

    Args:
        name: tells it from others, and is the seed that it was made from.
        steps: the edits.
    """

    name: str
    steps: tuple[Step, ...]

    @property
    def end(self) -> Spec:
        """The spec that it leads to."""
        return [step.spec for step in self.steps if not step.refused][-1]


def walk(seed: str) -> Walk:
    """The walk of a seed: the same on every machine, as long as the schema is the same."""
    chance = random.Random(seed)  # noqa: S311 - no secret is made of it
    spec = copy.deepcopy(chance.choice([_SMALLEST, *settings()]))
    spec.pop("paused", None)
    steps = [Step("create", spec, awaited=chance.random() < _AWAITED)]
    for _ in range(LENGTH):
        refused = 0
        while True:
            edit = chance.choices(*zip(*_EDITS.items(), strict=True))[0]
            edited = edit(chance, spec)
            if edited is None or edited[1] == spec or not _is_modest(edited[1]):
                continue
            what, after = edited
            if is_valid(after):
                taken = [step.spec for step in steps if not step.refused]
                if _keeps_volume(taken, after) and _rotation(after) >= _rotation(taken[-1]):
                    break
                continue
            if refused < MOST_REFUSED:
                refused += 1
                steps.append(Step(what, after, refused=True))
        spec = after
        steps.append(Step(what, spec, awaited=chance.random() < _AWAITED))
    if spec.get("paused"):  # a pause keeps the children of before: what they come to shows at its end
        steps.append(Step("end the pause", without(spec, ("paused",))))
    return Walk(seed, tuple(steps))


_Edit = Callable[[random.Random, Spec], tuple[str, Spec] | None]
"""Returns what it did and the new spec; None where there is nothing for it to do."""


def _set(chance: random.Random, spec: Spec) -> tuple[str, Spec] | None:
    leaf, place = _leaf_in(chance, spec)
    value = value_at(spec, place)
    values = list(others(leaf, value, names_in(spec)) if chance.random() < _OTHERS else bounds(leaf, value))
    return _edited("set", leaf, with_value(spec, place, chance.choice(values))) if values else None


def _remove(chance: random.Random, spec: Spec) -> tuple[str, Spec]:
    leaf, place = _leaf_in(chance, spec)
    return _edited("remove", leaf, without(spec, place))


def _remove_around(chance: random.Random, spec: Spec) -> tuple[str, Spec]:
    """Remove an object or a list or an item with all that is in it."""
    leaf, place = _leaf_in(chance, spec)
    return _edited("remove what is around", leaf, without(spec, place[: chance.randint(1, len(place))]))


def _add(chance: random.Random, spec: Spec) -> tuple[str, Spec] | None:
    """Add a leaf, with what is around it, as it is in a setting."""
    setting = chance.choice(settings())
    leaf, place = _leaf_in(chance, setting)
    here: Any = spec
    for depth, part in enumerate(place, start=1):
        there = part in here if isinstance(here, dict) else isinstance(part, int) and part < len(here)
        if there:
            here = here[part]
        else:
            at: Place = (*place[: depth - 1], len(here)) if isinstance(here, list) else place[:depth]
            return _edited("add", leaf, with_value(spec, at, value_at(setting, place[:depth])))
    return None


def _take_over(chance: random.Random, spec: Spec) -> tuple[str, Spec]:
    """Make one field of the spec, with all that is in it, what it is in a setting, where it may be absent."""
    setting = chance.choice(settings())
    field = chance.choice(sorted({field for each in settings() for field in each}))
    kept = {name: value for name, value in spec.items() if name not in {field, _EXCLUDES.get(field)}}
    taken = {field: copy.deepcopy(setting[field])} if field in setting else {}
    return f"take over spec.{field}", {**kept, **taken}


_EXCLUDES = {"replicas": "autoscaling", "autoscaling": "replicas"}
_EDITS: dict[_Edit, int] = {_set: 5, _remove: 2, _remove_around: 1, _add: 3, _take_over: 2}


def _edited(verb: str, leaf: Leaf, spec: Spec) -> tuple[str, Spec]:
    return f"{verb} {leaf}", spec


def _leaf_in(chance: random.Random, spec: Spec) -> tuple[Leaf, Place]:
    """A leaf that is in a spec, and where."""
    here = [leaf for leaf in leaves() if leaf.places(spec)]
    leaf = chance.choice(here)
    return leaf, chance.choice(leaf.places(spec))


def _keeps_volume(taken: list[Spec], spec: Spec) -> bool:
    """Whether a volume is as it was at first: what was once claimed stays, whatever a later spec asks for."""
    volumes = [each.get("state", {}).get("volume") for each in (*taken, spec)]
    return len({(each.get("size"), each.get("storageClassName")) for each in volumes if each}) <= 1


def _rotation(spec: Spec) -> int:
    """That of the key, which the API server takes back for nobody."""
    number = spec.get("access", {}).get("apiKeys", {}).get("rotation", 1)
    return int(number)


def _is_modest(spec: Spec) -> bool:
    """Whether one node has room for many such services, as far as one can tell of a broken spec.

    A pod of high priority that asks for more than a node has takes the room of others, whose walks it would disturb.
    """
    counts = [
        spec.get("replicas"),
        (spec.get("autoscaling") or {}).get("minReplicas"),
        (spec.get("tasks") or {}).get("workers"),
    ]
    pods = max((count for count in counts if isinstance(count, int)), default=1)
    resources = (spec.get("runtime") or {}).get("resources")
    parts = [part for part in resources.values() if isinstance(part, dict)] if isinstance(resources, dict) else []
    return pods <= MOST_PODS and all(len(str(value)) <= LONGEST_QUANTITY for part in parts for value in part.values())
