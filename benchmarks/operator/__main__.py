"""``make bench-operator``: measure the operator, keep the raw figures, write the table.

python -m benchmarks.operator [--count 500] [--many 1000] [--rounds 2] [--keep]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.operator import measure
from benchmarks.operator.table import Figures, page, rows
from dev import toolchain
from dev.progress import say

ROOT = Path(__file__).parent.parent.parent
RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "benchmarks.md"


async def measure_all(folder: Path, *, count: int, many: int, rounds: int, neighbours: int, foreign: int) -> Figures:
    """Every measurement; what is compared is measured in turns."""
    found: Figures = {"floor": [], "operator": [], "healthy": [], "failing": []}
    for number in range(rounds):
        say(f"==> round {number + 1} of {rounds}: {count} AgentServices by the floor, and by the operator")
        found["floor"].append(await measure.floor_round(folder / f"floor-{number}", count))
        found["operator"].append(await measure.operator_round(folder / f"operator-{number}", count))
        say(f"    {found['floor'][-1]['seconds']:.1f} s, {found['operator'][-1]['seconds']:.1f} s")
    for number in range(rounds):
        say(f"==> round {number + 1} of {rounds}: {neighbours} AgentServices without and with one that fails")
        for name, failing in (("healthy", False), ("failing", True)):
            figures = await measure.fairness_round(folder / f"{name}-{number}", neighbours, failing=failing)
            found[name].append(figures)
    say(f"==> life with {many} AgentServices")
    found["life"] = await measure.life_of_many(folder / "life", min(10, many // 2), many)
    say(f"==> beside {2 * foreign} objects of others")
    found["foreign"] = await measure.foreign_round(folder / "foreign", foreign)
    return found


def main() -> int:
    """Measure and print; 0 however the figures are: they are a report, not a test."""
    parser = argparse.ArgumentParser(prog="benchmarks.operator", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="AgentServices applied at once")
    parser.add_argument(
        "--many", type=int, default=1000, help="AgentServices that memory and reaction are measured with"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--neighbours", type=int, default=measure.NEIGHBOURS)
    parser.add_argument("--foreign", type=int, default=measure.FOREIGN)
    parser.add_argument("--keep", action="store_true", help="write the raw figures and docs/benchmarks.md")
    options = parser.parse_args()
    now, machine = datetime.now(UTC), _machine()
    with tempfile.TemporaryDirectory(prefix="agentservice-bench-") as folder:
        found = asyncio.run(
            measure_all(
                Path(folder),
                count=options.count,
                many=options.many,
                rounds=options.rounds,
                neighbours=options.neighbours,
                foreign=options.foreign,
            )
        )
    run = {
        "date": f"{now:%Y-%m-%d}",
        "count": options.count,
        "neighbours": options.neighbours,
        "rounds": options.rounds,
        "machine": machine,
        **found,
    }
    for row in rows(run):
        what, goal, seen = row.cells()
        say(f"{' ' if row.met else '!'} {what:<90} {goal:>12} {seen:>12}")
    if options.keep:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{now:%Y-%m-%d}.json").write_text(json.dumps(run, indent=1) + "\n")
        PAGE.write_text(page(run))
        say(f"written: {PAGE.relative_to(ROOT)}")
    return 0


def _machine() -> Figures:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return {
        "cpus": os.cpu_count(),
        "memory_gib": memory,
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "kubernetes": toolchain.version("kube-apiserver"),
    }


if __name__ == "__main__":
    sys.exit(main())
