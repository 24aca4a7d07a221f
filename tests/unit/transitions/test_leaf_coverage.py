"""ACT-1: every leaf of the schema is changed, deleted, taken to its bounds and broken, with no case written for it.

So is whatever holds leaves: objects, lists and maps.
"""

from __future__ import annotations

import pytest

from tests.unit.transitions.branches import branches, broken, unbroken
from tests.unit.transitions.cases import SETTINGS, WITHOUT, Sort, cases, is_valid, missing, settings
from tests.unit.transitions.leaves import Leaf, leaves
from tests.unit.transitions.values import BY_HAND


@pytest.mark.parametrize("leaf", leaves(), ids=str)
def test_act_1_every_leaf_has_a_case_of_every_sort(leaf: Leaf) -> None:
    assert any(leaf.places(spec) for spec in settings()), (
        f"no spec in {SETTINGS.name} has {leaf}: add it there, with another value than its default"
    )

    assert missing(leaf) == [], f"no value could be made for {leaf}: add some to BY_HAND in values.py"


def test_every_exception_is_needed() -> None:
    known = {str(leaf): leaf for leaf in leaves()}

    assert [path for path in BY_HAND if path not in known] == []
    assert [(path, sort) for path, sort in WITHOUT if path not in known or is_there(known[path], sort)] == []


def is_there(leaf: Leaf, sort: Sort) -> bool:
    return any(case.sort is sort for case in cases(leaf))


@pytest.mark.parametrize("leaf", leaves(), ids=str)
def test_act_5_a_broken_value_is_refused_by_the_parser(leaf: Leaf) -> None:
    taken = [str(case) for case in cases(leaf) if case.sort is Sort.REFUSED and is_valid(case.after)]

    assert taken == []


@pytest.mark.parametrize("branch", branches(), ids=str)
def test_act_1_act_5_every_bound_of_a_branch_is_broken_by_a_case_that_the_parser_refuses(branch: Leaf) -> None:
    assert unbroken(branch) == set(), f"break these in branches.py, and have {branch} in a spec of {SETTINGS.name}"

    assert [str(case) for case in broken(branch) if is_valid(case.spec)] == []


def test_the_settings_are_valid() -> None:
    assert [is_valid(spec) for spec in settings()] == [True] * len(settings())
