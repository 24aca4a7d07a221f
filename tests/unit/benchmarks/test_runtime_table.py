"""The table of the runtime's benchmark: every goal can be reached, and missed."""

from __future__ import annotations

from typing import Any

from benchmarks.runtime.table import rows

NAMES = ("plain", "litellm", "runtime", "runtime, SQLite")


def run(*, cpu_ms: dict[str, float], slower: float = 1.0) -> dict[str, Any]:
    """The raw figures of a run; `slower` multiplies what the runtime is measured by alone."""
    ms = cpu_ms
    throughput = {name: {"cpu_ms": ms[name], "per_cpu_second": 1000 / ms[name], "per_second": 1.0} for name in NAMES}
    latency = {name: {"p50_ms": 1 + 1.5 * slower, "p99_ms": 2 + 5 * slower} for name in NAMES}
    figures = {
        "throughput": throughput,
        "latency": {"direct": {"p50_ms": 1.0, "p99_ms": 2.0}, **latency},
        "streaming": {name: {"cpu_ms": 2 * slower} for name in NAMES},
    }
    return {
        "rounds": [figures, figures],
        "callers": 32,
        "events": 200,
        "probes": {"p99_ms": 60 * slower},
        "streams": {"idle_kib": 100_000 * slower, "held_kib": 220_000 * slower, "ready_seconds": 2 * slower},
        "memory": {"requests": 1000, "early_kib": 100, "late_kib": 100 * slower},
        "start": {"litellm": {"resident_kib": 400_000, "ready_seconds": 9.0}},
    }


GOOD = {"plain": 3.0, "litellm": 10.0, "runtime": 0.9, "runtime, SQLite": 2.0}
BAD = {"plain": 1.0, "litellm": 1.0, "runtime": 0.9, "runtime, SQLite": 2.0}


def test_a_run_that_reaches_every_goal_says_so() -> None:
    assert all(row.met for row in rows(run(cpu_ms=GOOD)))


def test_every_goal_can_be_missed() -> None:
    assert [row.what for row in rows(run(cpu_ms=BAD, slower=2)) if row.goal is not None and row.met] == []


def test_what_is_better_when_it_is_more_says_so() -> None:
    [ratio] = [row for row in rows(run(cpu_ms=GOOD)) if "runtime against litellm" in row.what and row.goal]

    assert ratio.cells() == ("answers for a second of CPU: runtime against litellm", ">= 10 x", "11.11 x")
