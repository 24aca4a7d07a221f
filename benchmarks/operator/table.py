"""From the raw figures of a run to the table in docs/benchmarks.md; pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Figures = dict[str, Any]

_PAGE = """# Benchmarks

Written by `make bench-operator KEEP=1`; [raw figures](../benchmarks/operator/results/{raw}). Counts mean something on
any machine, ratios on a quiet one. Times do not: this machine is shared with others, and API server, etcd, kwok, load
and operator share its CPUs.

{date}, {cpus} CPUs with a load average of {load:.1f} before, {memory_gib:.0f} GiB, Python {python}, Kubernetes
{kubernetes}, rounds: {rounds}.

| what | goal | found | met |
|---|---|---|---|
{rows}

The floor is a bare client (aiohttp, orjson, 32 requests in flight) that creates the same AgentServices and writes the
same children by server-side apply, in a control plane of its own, in turns with the operator. The operator also reads
each child before it makes it, and writes two statuses. kwok makes the pods Ready. Memory is what is resident after two
idle minutes, in which everything was listed again. The CPU of an edit is without what an idle operator takes in the
same time on average; if more of its regular lists fall into that time, they count as the edits'.

Until {count} had their children the floor took {floor} s and the operator {operator} s in the rounds.

| besides | with {few} | with {many} |
|---|---|---|
{reactions}

A restart with {many} takes {restart:.1f} s until the new process leads, and {lists} pages of lists. While {count} are
applied at once, one who reads an object again and again waits {bystander:.0f} ms (p99).
"""


@dataclass(frozen=True)
class Row:
    """What was measured, beside what is promised.

    Args:
        what: was measured.
        goal: what it may be at most; None where nothing is promised.
        found: what it was.
        unit: of both, with a blank before it where one belongs.
        digits: after the point.
    """

    what: str
    goal: float | None
    found: float
    unit: str = ""
    digits: int = 0

    @property
    def met(self) -> bool:
        """Whether the goal is reached, where there is one."""
        return self.goal is None or self.found <= self.goal

    def cells(self) -> tuple[str, str, str]:
        """What, goal and found as text."""
        goal = "" if self.goal is None else f"<= {self.goal:g}{self.unit}"
        return self.what, goal, f"{self.found:.{self.digits}f}{self.unit}"


def rows(run: Figures) -> Iterator[Row]:
    """What a run says about each promise that has a figure, and a few figures more."""
    yield from _at_once(run)
    life = run["life"]
    yield from _memory(life, run["foreign"])
    yield from _reaction(life)
    yield from _at_rest(life)
    ratio = median(run["failing"], "seconds") / median(run["healthy"], "seconds")
    yield Row(f"time of {run['neighbours']} AgentServices beside one that fails in a loop", 1.1, ratio, " x", 2)


def _at_once(run: Figures) -> Iterator[Row]:
    count, ours = run["count"], run["operator"]
    ratio = median(ours, "seconds") / median(run["floor"], "seconds")
    yield Row(
        f"{count} AgentServices at once, until their children are complete, against the floor", 1.5, ratio, " x", 2
    )
    children, writes = ours[0]["children"], median(ours, "writes_per_service")
    yield Row(f"writes for each of them, with {children} children", 1.5 * (children + 2), writes, digits=2)
    yield Row("of these to status", 4, median(ours, "status_writes_per_service"), digits=2)
    yield Row("refusals of the API server (429) meanwhile", 0, max(each["refused_429"] for each in ours))


def _memory(life: Figures, foreign: Figures) -> Iterator[Row]:
    yield Row("memory without AgentServices", 90, life["memory_idle_kib"] / 1024, " MiB")
    slope = (life["memory_many_kib"] - life["memory_idle_kib"]) / life["many"]
    yield Row(f"memory for each of {life['many']} with one pod", 60, slope, " KiB")
    ratio = foreign["with_kib"] / foreign["without_kib"]
    yield Row(f"memory beside {foreign['objects']} ConfigMaps and Deployments of others", 1.05, ratio, " x", 2)


def _reaction(life: Figures) -> Iterator[Row]:
    few, many = life["few_figures"], life["many_figures"]
    for count, figures in ((life["few"], few), (life["many"], many)):
        yield Row(f"deleted child back, p99, with {count} AgentServices", 1000, figures["repair_p99_ms"], " ms")
    ratio = many["edit_p99_ms"] / few["edit_p99_ms"]
    yield Row(f"edit to new Deployment, p99, with {life['many']} against {life['few']}", 2, ratio, " x", 2)


def _at_rest(life: Figures) -> Iterator[Row]:
    idle, no_op, restart = life["idle"], life["no_op"], life["restart"]
    yield Row(f"writes in two idle minutes with {life['many']}, in which each is looked at again", 0, idle["writes"])
    yield Row("CPU meanwhile, of one core", None, 100 * idle["cpu_share"], " %", 1)
    yield Row(f"writes for {no_op['edits']} edits that change nothing", 0, no_op["writes"])
    ratio = no_op["cpu_ms_per_edit"] / no_op["kopf_cpu_ms_per_edit"]
    yield Row("CPU for each, against kopf with an empty handler", 3, ratio, " x", 1)
    yield Row(f"writes for a restart with {life['many']}", 0, restart["writes"])


def page(run: Figures) -> str:
    """docs/benchmarks.md."""
    lines = [" | ".join(("", *row.cells(), _met(row), "")).strip() for row in rows(run)]
    life = run["life"]
    reactions = [
        f"| {what} | {life['few_figures'][name]:.0f} ms | {life['many_figures'][name]:.0f} ms |"
        for what, name in _REACTIONS
    ]
    return _PAGE.format(
        rows="\n".join(lines),
        reactions="\n".join(reactions),
        raw=f"{run['date']}.json",
        few=life["few"],
        many=life["many"],
        restart=life["restart"]["seconds_to_lead"],
        lists=life["restart"]["lists"],
        count=run["count"],
        floor=_each_round(run["floor"]),
        operator=_each_round(run["operator"]),
        bystander=median(run["operator"], "bystander_p99_ms"),
        date=run["date"],
        rounds=run["rounds"],
        **run["machine"],
    )


_REACTIONS = (
    ("deleted child back, median", "repair_p50_ms"),
    ("deleted child back, p99", "repair_p99_ms"),
    ("edit to new Deployment, median", "edit_p50_ms"),
    ("edit to new Deployment, p99", "edit_p99_ms"),
)


def _each_round(rounds: Sequence[Figures]) -> str:
    return ", ".join(f"{each['seconds']:.0f}" for each in rounds)


def _met(row: Row) -> str:
    if row.goal is None:
        return ""
    return "yes" if row.met else "**no**"


def median(rounds: Sequence[Figures], name: str) -> float:
    """The median of a figure over rounds."""
    return float(statistics.median(each[name] for each in rounds))
