"""What `make test` can run here, and what it says where it cannot."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from dev import demo
from dev import test as tiers
from dev.engine import Engine, NoEngineError

ROOT, SOMEBODY = 0, 1000


def no_engine() -> Engine | None:
    return None


def unusable_engine() -> Engine | None:
    raise NoEngineError("install its buildx plugin")


@pytest.mark.parametrize(
    ("in_ci", "user", "find", "obstacle"),
    [
        (True, ROOT, no_engine, None),
        (True, SOMEBODY, no_engine, "no Docker engine answers"),
        (False, ROOT, no_engine, "no Docker engine answers"),
        (True, ROOT, unusable_engine, "install its buildx plugin"),
    ],
    ids=["CI as root starts one", "CI as somebody cannot", "nobody's machine is changed unasked", "it cannot build"],
)
def test_the_end_to_end_tier_is_left_out_where_no_engine_can_be_had(
    monkeypatch: pytest.MonkeyPatch, *, in_ci: bool, user: int, find: Callable[[], Engine | None], obstacle: str | None
) -> None:
    monkeypatch.setattr(tiers, "IN_CI", in_ci)
    monkeypatch.setattr(tiers, "find_engine", find)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    [e2e] = (tier for tier in tiers.TIERS if tier.name == "e2e")

    said = e2e.obstacle()

    assert said is None if obstacle is None else said is not None and said.startswith(obstacle)


def test_a_demo_that_cannot_be_removed_says_why_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_engine", unusable_engine)

    assert demo.main(["down"]) == 1
    assert capsys.readouterr().err == "install its buildx plugin\n"
