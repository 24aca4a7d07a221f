"""``make mutants``: break every promise on purpose, and see its test fail.

python -m tests.mutants [WORDS]      those whose promise or description has these words; all without

Each mutant lives in a copy of the tree of its own; the tree itself is never touched. First every test that is named is
seen to pass without a mutant.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from dev.progress import say, step
from tests.mutants.mutants import MUTANTS, Mutant, StaleMutantError

ROOT = Path(__file__).parents[2]
AT_ONCE = 2
"""Each with a control plane of its own."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant.

    Args:
        killed: its test failed, and not for want of something that the test needs.
        why: the first line of what pytest said.
    """

    mutant: Mutant
    killed: bool
    why: str


def copy_tree(folder: Path) -> Path:
    """Copy what belongs to the repository, committed or not."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - found on PATH
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():  # a deletion may not be committed yet
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def run_tests(tree: Path, tests: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Run tests in a copy of the tree.

    Returns:
        What became of each test case that did not pass ("failure", "error" or "skipped"), and its first line; or one
        entry "error" where pytest ran no case.
    """
    report = tree / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", f"--junitxml={report}", *tests]
    done = subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": f"{tree}{os.pathsep}{tree / 'operator'}", "CI": "true"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    cases = list(ET.parse(report).getroot().iter("testcase")) if report.exists() else []  # noqa: S314 - our own file
    if not cases:
        return {"pytest": ("error", done.stdout[-500:])}
    return {
        case.get("name", ""): (outcome.tag, (outcome.get("message") or "").splitlines()[0][:120])
        for case in cases
        for outcome in case
        if outcome.tag in {"failure", "error", "skipped"}
    }


def try_out(mutant: Mutant) -> Verdict:
    """Run a mutant's test in a tree that has it."""
    with tempfile.TemporaryDirectory(prefix="agentservice-mutant-") as folder:
        tree = copy_tree(Path(folder))
        try:
            mutant.apply(tree)
        except StaleMutantError as error:
            return Verdict(mutant, killed=False, why=str(error))
        bad = run_tests(tree, [mutant.test])
    failures = [why for outcome, why in bad.values() if outcome == "failure"]
    others = [f"{outcome}: {why}" for outcome, why in bad.values() if outcome != "failure"]
    verdict = Verdict(mutant, killed=bool(failures), why=(failures or others or ["the test passed"])[0])
    say(f"    {'red     ' if verdict.killed else 'SURVIVED'} {mutant.breaks}: {verdict.why}")
    return verdict


def main() -> int:
    """Try the mutants; 0 where each was found out."""
    words = " ".join(sys.argv[1:])
    chosen = [mutant for mutant in MUTANTS if words in f"{mutant.promise}: {mutant.breaks}"]
    if not chosen:
        say(f"no mutant is about '{words}'")
        return 2
    with step("the tests without a mutant"), tempfile.TemporaryDirectory(prefix="agentservice-mutant-") as folder:
        bad = run_tests(copy_tree(Path(folder)), sorted({mutant.test for mutant in chosen}))
    if bad:
        for name, (outcome, why) in bad.items():
            say(f"{outcome} without any mutant: {name}: {why}")
        return 1
    with step(f"{len(chosen)} mutants"), ThreadPoolExecutor(AT_ONCE) as threads:
        verdicts = list(threads.map(try_out, chosen))
    print(table(verdicts))  # noqa: T201 - the result of this program
    survivors = [verdict for verdict in verdicts if not verdict.killed]
    print(f"\n{len(verdicts) - len(survivors)} of {len(verdicts)} found out")  # noqa: T201 - likewise
    return 1 if survivors else 0


def table(verdicts: Sequence[Verdict]) -> str:
    """The result as a table of Markdown."""
    rows = [
        f"| {verdict.mutant.promise} | {verdict.mutant.breaks} | `{verdict.mutant.test.removeprefix('tests/')}` "
        f"| {'yes' if verdict.killed else 'NO: ' + verdict.why} |"
        for verdict in verdicts
    ]
    return "\n".join(("| promise | mutant | test | red |", "|---|---|---|---|", *rows))


if __name__ == "__main__":
    sys.exit(main())
