"""Children's names fit into 63 characters and stay apart."""

from __future__ import annotations

import pytest
from agentservice_operator.builders.names import child_name


def test_a_short_name_gets_the_suffix() -> None:
    assert child_name("hello", "-api-keys") == "hello-api-keys"


def test_a_name_that_just_fits_is_not_cut() -> None:
    assert child_name("a" * 53, "-api-keys0") == "a" * 53 + "-api-keys0"


@pytest.mark.parametrize("owner", ["a" * 55, "a" * 200, "a" * 40 + "-" * 3 + "b" * 40])
def test_a_long_name_is_cut_and_keeps_its_suffix(owner: str) -> None:
    name = child_name(owner, "-api-keys")

    assert len(name) <= 63
    assert name.endswith("-api-keys")
    assert "--" not in name


def test_two_long_names_with_the_same_beginning_stay_apart() -> None:
    assert child_name("a" * 60 + "b", "-api-keys") != child_name("a" * 60 + "c", "-api-keys")
