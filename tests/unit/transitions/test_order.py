"""ACT-11: equal specs give equal bytes, whatever the order in which their maps, and lists like maps, were written."""

from __future__ import annotations

import json
import random
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from hypothesis import settings as example_settings

from tests.unit.transitions.cases import settings
from tests.unit.transitions.effects import children
from tests.unit.transitions.leaves import Spec, schema


def reordered(value: Any, below: dict[str, Any], order: random.Random) -> Any:
    """The same value in another order, wherever its schema says that the order means nothing."""
    if isinstance(value, dict):
        inner = below.get("properties", {})
        items = order.sample(list(value.items()), len(value))
        return {key: reordered(each, inner.get(key, {}), order) for key, each in items}
    if isinstance(value, list):
        unordered = below.get("x-kubernetes-list-type") in {"map", "set"}
        items = order.sample(value, len(value)) if unordered else value
        return [reordered(each, below.get("items", {}), order) for each in items]
    return value


@pytest.mark.parametrize("spec", settings(), ids=["whole", "other", "database", "volume"])
def test_act_11_the_order_of_no_field_means_anything(spec: Spec) -> None:
    straight = json.dumps(children(spec))

    @example_settings(max_examples=100, deadline=None)
    @given(st.randoms(use_true_random=True))
    def check(order: random.Random) -> None:
        assert json.dumps(children(reordered(spec, schema(), order))) == straight

    check()
