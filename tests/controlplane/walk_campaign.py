"""Random walks through the specs of AgentServices, after Acto: the same end by any way gives the same children.

    python -m tests.controlplane.walk_campaign               200 walks, with a seed that it prints
    python -m tests.controlplane.walk_campaign SEED          those of that seed
    python -m tests.controlplane.walk_campaign FILE.yaml     one walk, as an earlier run has written it down

Source: Acto, SOSP '23, https://github.com/xlab-uiuc/acto
"""

from __future__ import annotations

import itertools
import secrets
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from dev.controlplane import control_plane
from dev.progress import say, step
from tests.controlplane.agent_services import AgentServices, install_definitions
from tests.controlplane.operator_process import OperatorProcess, delete_namespace, make_namespace
from tests.controlplane.walk_batch import Report, operator_troubles, run
from tests.unit.transitions.cases import coverage
from tests.unit.transitions.walks import Step, Walk, walk

WALKS = 200
SIDE_BY_SIDE = 25
"""In one namespace."""

Runner = Callable[[Sequence[Walk]], Report]
"""Runs walks in a namespace of their own."""


def shortest(failing: Walk, run_walks: Runner) -> Walk:
    """The shortest part of a walk with the same end that still differs; the walk itself where none does.

    Every spec of a walk is whole, so any of them can be left out.
    """
    taken = [each for each in failing.steps if not each.refused]
    before, end = taken[:-1], taken[-1]
    for length in range(1, len(before)):
        parts = [
            Walk(f"{failing.name}-{number}", (*(replace(each, awaited=True) for each in part), end))
            for number, part in enumerate(itertools.combinations(before, length))
        ]
        found = run_walks(parts).differences
        for part in parts:
            if part.name in found:
                return part
    return failing


def written(one: Walk) -> str:
    """A walk as YAML documents, one edit each."""
    return yaml.safe_dump_all([asdict(each) for each in one.steps], sort_keys=False)


def read(file: Path) -> Walk:
    """A walk that was written down."""
    return Walk(file.stem, tuple(Step(**each) for each in yaml.safe_load_all(file.read_text())))


def main() -> int:
    """Run the campaign on a control plane of its own; 1 where anything differs."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else str(secrets.randbelow(10**6))
    walks = [read(Path(wanted))] if wanted.endswith(".yaml") else [walk(f"{wanted}-{n}") for n in range(WALKS)]
    covered, total = coverage()
    say(f"==> {covered} of {total} leaves of the schema have cases; {len(walks)} walks, seed {wanted}")
    report = Report()
    with (
        tempfile.TemporaryDirectory(prefix="agentservice-walks-") as folder,
        control_plane(Path(folder) / "plane") as cluster,
    ):
        install_definitions(cluster)
        home = make_namespace(cluster, "walks-home")
        operator = OperatorProcess(cluster, None, home, (), Path(folder))
        operator.start()

        def run_walks(some: Sequence[Walk]) -> Report:
            namespace = make_namespace(cluster, "walks")
            try:
                return run(AgentServices(cluster, namespace), home, some)
            finally:
                delete_namespace(cluster, namespace)

        try:
            for first in range(0, len(walks), SIDE_BY_SIDE):
                some = walks[first : first + SIDE_BY_SIDE]
                with step(f"walks {first + 1} to {first + len(some)}"):
                    report.add(run_walks(some))
                say(f"    {len(report.differences)} differ: {', '.join(report.differences) or 'none'}")
            for failing in [each for each in walks if each.name in report.differences]:
                say(f"FAILED {failing.name}\n{report.differences[failing.name]}")
                with step("looking for the shortest part of it that fails"):
                    part = shortest(failing, run_walks)
                file = Path(tempfile.gettempdir()) / f"walk-{part.name}.yaml"
                file.write_text(written(part))
                say(f"{written(part)}\nagain: make walks WALKS={file}")
            troubles = operator_troubles(operator)
        finally:
            operator.close()
    say(
        f"{report.walked} walks with {report.edits} edits, {report.refused} more were refused; "
        f"{len(report.rejected)} ended where a child refuses the spec; {len(report.differences)} differ"
    )
    for trouble in troubles:
        say(f"the operator: {trouble}")
    return 1 if report.differences or troubles or not report.walked else 0


if __name__ == "__main__":
    sys.exit(main())
