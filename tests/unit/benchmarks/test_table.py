"""The table of the benchmark: goals beside figures, and what misses its goal is said to."""

from __future__ import annotations

from typing import Any

from benchmarks.operator.table import page, rows


def run(**other: Any) -> dict[str, Any]:
    """The raw figures of a run that reaches every goal, or has other ones."""
    reaction = {"repair_p50_ms": 50.0, "repair_p99_ms": 120.0, "edit_p50_ms": 40.0, "edit_p99_ms": 90.0}
    applied = {
        "seconds": 12.0,
        "children": 6,
        "writes_per_service": 8.0,
        "status_writes_per_service": 2.0,
        "refused_429": 0,
        "bystander_p99_ms": 30.0,
    }
    figures: dict[str, Any] = {
        "date": "2026-11-21",
        "rounds": 1,
        "count": 500,
        "neighbours": 200,
        "machine": {"cpus": 2, "memory_gib": 24.0, "load": 0.1, "python": "3.13.1", "kubernetes": "v1.34.4"},
        "floor": [{"seconds": 10.0}],
        "operator": [applied],
        "healthy": [{"seconds": 5.0}],
        "failing": [{"seconds": 5.1}],
        "life": {
            "few": 10,
            "many": 1000,
            "memory_idle_kib": 80 * 1024,
            "memory_many_kib": 130 * 1024,
            "few_figures": reaction,
            "many_figures": reaction,
            "no_op": {"edits": 1000, "writes": 0, "cpu_ms_per_edit": 2.0, "kopf_cpu_ms_per_edit": 1.0},
            "idle": {"cpu_share": 0.05, "writes": 0},
            "restart": {"seconds_to_lead": 3.0, "lists": 9, "writes": 0},
        },
        "foreign": {"objects": 4000, "without_kib": 80_000, "with_kib": 81_000},
    }
    return figures | other


def test_a_run_that_reaches_every_goal_says_so() -> None:
    assert all(row.met for row in rows(run()))
    assert "**no**" not in page(run())


def test_every_figure_can_miss_its_goal() -> None:
    reaction = {"repair_p99_ms": 1001.0, "edit_p99_ms": 90.0}
    slow = {"repair_p99_ms": 1001.0, "edit_p99_ms": 200.0}
    applied = {
        "seconds": 16.0,
        "children": 6,
        "writes_per_service": 12.1,
        "status_writes_per_service": 4.1,
        "refused_429": 1,
    }
    life = {
        "few": 10,
        "many": 1000,
        "memory_idle_kib": 91 * 1024,
        "memory_many_kib": 191 * 1024,
        "few_figures": reaction,
        "many_figures": slow,
        "no_op": {"edits": 1000, "writes": 1, "cpu_ms_per_edit": 3.1, "kopf_cpu_ms_per_edit": 1.0},
        "idle": {"cpu_share": 0.05, "writes": 1},
        "restart": {"writes": 1},
    }
    missed = run(
        operator=[applied],
        failing=[{"seconds": 6.0}],
        life=life,
        foreign={"objects": 4000, "without_kib": 80_000, "with_kib": 85_000},
    )

    assert not any(row.met for row in rows(missed) if row.goal is not None)


def test_the_page_shows_goal_and_figure() -> None:
    assert (
        "| 500 AgentServices at once, until their children are complete, against the floor | <= 1.5 x | 1.20 x | yes |"
        in page(run())
    )


def test_the_page_shows_figures_without_a_goal() -> None:
    assert "| CPU meanwhile, of one core |  | 5.0 % |  |" in page(run())
    assert "| edit to new Deployment, p99 | 90 ms | 90 ms |" in page(run())
