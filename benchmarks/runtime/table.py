"""From the raw figures of a run to the rows that are compared with the goals; pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What was measured, beside what is promised.

    Args:
        what: was measured.
        goal: what it should be; None where nothing is promised.
        found: what it was.
        unit: of both, with a blank before it where one belongs.
        digits: after the point.
        at_least: whether more is better.
    """

    what: str
    goal: float | None
    found: float
    unit: str = ""
    digits: int = 0
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the goal is reached, where there is one."""
        if self.goal is None:
            return True
        return self.found >= self.goal if self.at_least else self.found <= self.goal

    def cells(self) -> tuple[str, str, str]:
        """What, goal and found as text."""
        sign = ">=" if self.at_least else "<="
        goal = "" if self.goal is None else f"{sign} {self.goal:g}{self.unit}"
        return self.what, goal, f"{self.found:.{self.digits}f}{self.unit}"


def rows(run: Figures) -> Iterator[Row]:
    """What a run says about each goal, and a few figures more."""
    yield from _throughput(run)
    yield from _latency(run)
    for name in run["rounds"][0]["streaming"]:
        goal = 2.5 if name == "runtime" else None
        yield Row(f"CPU of a stream of {run['events']} events: {name}", goal, _median(run, "streaming", name), " ms", 2)
    yield Row("probe of the admin port while all callers are answered, p99", 100, run["probes"]["p99_ms"], " ms")
    yield from _memory(run)


def _throughput(run: Figures) -> Iterator[Row]:
    names = list(run["rounds"][0]["throughput"])
    for name in names:
        yield Row(f"CPU of an answer: {name}", None, _median(run, "throughput", name), " ms", 2)
    for name, peer, goal in (
        ("runtime", "litellm", 10.0),
        ("runtime", "plain", 3.0),
        ("runtime, SQLite", "plain", 1.3),
    ):
        found = _ratio(run, name, peer, "per_cpu_second")
        yield Row(f"answers for a second of CPU: {name} against {peer}", goal, found, " x", 2, at_least=True)
    for name, peer in (("runtime", "litellm"), ("runtime", "plain")):
        found = _ratio(run, name, peer, "per_second")
        yield Row(f"answers in a second to {run['callers']} callers: {name} against {peer}", None, found, " x", 2)


def _latency(run: Figures) -> Iterator[Row]:
    for percentile, goal in (("p50_ms", 2), ("p99_ms", 6)):
        for name in run["rounds"][0]["latency"]:
            if name != "direct":
                added = statistics.median(
                    each["latency"][name][percentile] - each["latency"]["direct"][percentile] for each in run["rounds"]
                )
                words = f"time added for one caller, {percentile.removesuffix('_ms')}: {name}"
                yield Row(words, goal if name == "runtime" else None, added, " ms", 1)


def _memory(run: Figures) -> Iterator[Row]:
    streams, memory = run["streams"], run["memory"]
    yield Row("memory idle: runtime", 140, streams["idle_kib"] / 1024, " MiB")
    yield Row("memory idle: litellm", None, run["start"]["litellm"]["resident_kib"] / 1024, " MiB")
    yield Row("memory of 1,000 open streams", 150, (streams["held_kib"] - streams["idle_kib"]) / 1024, " MiB")
    growth = memory["late_kib"] / memory["early_kib"]
    yield Row(f"memory after {memory['requests']} answers against that after a tenth", 1.05, growth, " x", 2)
    yield Row("start to ready: runtime", 3, streams["ready_seconds"], " s", 1)
    yield Row("start to ready: litellm", None, run["start"]["litellm"]["ready_seconds"], " s", 1)


def _median(run: Figures, what: str, name: str) -> float:
    return float(statistics.median(each[what][name]["cpu_ms"] for each in run["rounds"]))


def _ratio(run: Figures, name: str, peer: str, figure: str) -> float:
    """The median of the ratios within each round."""
    rounds = (each["throughput"] for each in run["rounds"])
    return float(statistics.median(each[name][figure] / each[peer][figure] for each in rounds))
