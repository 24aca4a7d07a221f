"""``make bench-runtime``: measure the runtime beside its peers, keep the raw figures, print the table.

python -m benchmarks.runtime [--rounds 3] [--seconds 10] [--requests 100000] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.runtime import litellm_proxy
from benchmarks.runtime.measure import measure_all
from benchmarks.runtime.table import rows
from dev.progress import say

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Measure and print; 0 however the figures are: they are a report, not a test."""
    parser = argparse.ArgumentParser(prog="benchmarks.runtime", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="that each server is kept busy in each round")
    parser.add_argument("--requests", type=int, default=100_000, help="over which memory should stay flat")
    parser.add_argument("--keep", action="store_true", help="keep the raw figures")
    options = parser.parse_args()
    program = litellm_proxy.ensure()
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="agentservice-bench-") as folder:
        found = measure_all(
            Path(folder), program, rounds=options.rounds, seconds=options.seconds, requests=options.requests
        )
    run = {
        "date": f"{now:%Y-%m-%d}",
        "seconds": options.seconds,
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg()[0], "python": platform.python_version()},
        "versions": {
            "litellm": litellm_proxy.version(),
            **{name: version(name) for name in ("anthropic", "fastapi", "uvicorn")},
        },
        "measured": found,
    }
    for row in rows(found):
        what, goal, seen = row.cells()
        say(f"{' ' if row.met else '!'} {what:<82} {goal:>10} {seen:>12}")
    if options.keep:
        RESULTS.mkdir(exist_ok=True)
        target = RESULTS / f"{now:%Y-%m-%d}.json"
        target.write_text(json.dumps(run, indent=1) + "\n")
        say(f"written: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
