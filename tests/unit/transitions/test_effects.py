"""ACT-2: a change of a field reaches a child, and no other part of any child than the field is about."""

from __future__ import annotations

import pytest

from tests.unit.transitions.cases import Case, Sort, all_cases
from tests.unit.transitions.effects import TOUCHES, TOUCHES_NOTHING, differences, outside, row_for
from tests.unit.transitions.leaves import Leaf, leaves, value_at

VALID = [case for case in all_cases(Sort.CHANGE, Sort.DELETE, Sort.BOUND) if case.valid]


@pytest.mark.parametrize("leaf", leaves(), ids=str)
def test_act_2_a_change_reaches_a_child_and_nothing_else(leaf: Leaf) -> None:
    row = row_for(leaf)
    assert row is not None, f"say in TOUCHES of effects.py which parts of which children {leaf} is about"

    for case in VALID:
        if case.leaf == leaf:
            touched = differences(case.before, case.after)
            assert outside(touched, TOUCHES[row]) == set(), case
            assert touched or not must_touch(case), f"{case} reaches no child"


def must_touch(case: Case) -> bool:
    if str(case.leaf) in TOUCHES_NOTHING:
        return False
    if case.sort is Sort.DELETE:
        # Taking away what is the default anyway changes nothing.
        return "default" not in case.leaf.schema or value_at(case.before, case.place) != case.leaf.schema["default"]
    return case.sort is Sort.CHANGE


def test_every_row_is_needed() -> None:
    used = {row_for(leaf) for leaf in leaves()}

    assert set(TOUCHES) - used == set()
    assert set(TOUCHES_NOTHING) - set(map(str, leaves())) == set()
