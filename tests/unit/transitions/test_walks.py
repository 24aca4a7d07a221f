"""Walks through specs: made from a seed, full of edits, and cut down to what matters where one fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.controlplane.walk_batch import Report
from tests.controlplane.walk_campaign import read, shortest, written
from tests.unit.transitions.cases import is_valid
from tests.unit.transitions.leaves import leaves
from tests.unit.transitions.walks import LENGTH, MOST_PODS, Step, Walk, walk


def test_act_10_a_seed_gives_the_same_walk_again() -> None:
    assert walk("a") == walk("a")
    assert walk("a") != walk("b")


@pytest.mark.parametrize("seed", range(20))
def test_a_walk_takes_valid_edits_and_tries_broken_ones(seed: int) -> None:
    made = walk(str(seed))

    taken = [step for step in made.steps if not step.refused]
    assert [is_valid(step.spec) for step in made.steps] == [not step.refused for step in made.steps]
    assert len(taken) >= 1 + LENGTH
    assert not made.end.get("paused")
    assert all((step.spec.get("replicas") or 0) <= MOST_PODS for step in taken)


def test_walks_come_by_most_fields() -> None:
    edits = " ".join(step.what for seed in range(200) for step in walk(str(seed)).steps if not step.refused)

    untouched = [str(leaf) for leaf in leaves() if str(leaf) not in edits]

    assert len(untouched) <= len(leaves()) / 10, untouched


def test_act_10_a_failing_walk_is_cut_down_to_the_edits_that_matter() -> None:
    specs = [{"replicas": number} for number in range(6)]
    failing = Walk("long", tuple(Step(f"set {spec}", spec) for spec in specs))

    def fails_from_one_by_three(walks: Sequence[Walk]) -> Report:
        report = Report()
        for each in walks:
            counts = [step.spec["replicas"] for step in each.steps]
            if {1, 3} <= set(counts):
                report.differences[each.name] = "more pods"
        return report

    found = shortest(failing, fails_from_one_by_three)

    assert [step.spec["replicas"] for step in found.steps] == [1, 3, 5]


def test_act_10_a_walk_that_was_written_down_is_the_same_again(tmp_path: Path) -> None:
    made = walk("a")
    file = tmp_path / "walk-a.yaml"

    file.write_text(written(made))

    assert read(file).steps == made.steps
