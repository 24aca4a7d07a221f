"""``make test``: every tier that this machine can run, and a word on what was left out and why.

python -m dev.test [TIER ...]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from dev import toolchain
from dev.controlplane import PROGRAMS
from dev.engine import NoEngineError, find_engine
from dev.servers import NoServerError, install_servers

ROOT = Path(__file__).parent.parent
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}


def _nothing() -> str | None:
    return None


def _servers() -> str | None:
    """The tier runs without them, too, and says what it skipped; CI must have them."""
    if IN_CI:
        try:
            install_servers()
        except NoServerError as error:
            return str(error)
    return None


def _tools(*names: str) -> Callable[[], str | None]:
    def check() -> str | None:
        try:
            toolchain.ensure(*names)
        except toolchain.ToolchainError as error:
            return str(error)
        return None

    return check


def _engine() -> str | None:
    try:
        if find_engine() is not None or (IN_CI and os.geteuid() == 0):
            return None
    except NoEngineError as error:
        return str(error)
    return "no Docker engine answers; 'make test-e2e' as root on Debian or Ubuntu starts one"


@dataclass(frozen=True)
class Tier:
    """One folder of tests.

    Args:
        name: Of the tier and of its folder.
        obstacle: Makes what the tier needs; returns why it cannot, None where it can.
        arguments: Further ones for pytest.
        required: Whether CI must have run it.
    """

    name: str
    obstacle: Callable[[], str | None]
    arguments: tuple[str, ...]
    required: bool = True


IN_ORDER = ("-n", "6", "--dist", "load", "--maxschedchunk", "2")
"""For tests that wait more than they compute: more of them than CPUs, and the next ones go to whoever is free."""

TIERS = (
    Tier("unit", _nothing, ("-n", "2")),
    Tier("runtime", _servers, ("-n", "4")),
    Tier("chart", _tools("helm3", "helm4", "promtool"), ("-n", "2")),
    Tier("controlplane", _tools(*PROGRAMS, "helm4"), IN_ORDER),
    Tier("e2e", _engine, ("-m", "smoke"), required=os.geteuid() == 0),
)

WHOLE_E2E = ("-n", "3", "--dist", "worksteal")
"""Arguments of the tier that `make test` runs only the smoke part of."""


@dataclass(frozen=True)
class Outcome:
    """How a tier went."""

    tier: Tier
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: tuple[str, ...] = ()
    left_out: str | None = None
    exit_code: int = 0

    @property
    def good(self) -> bool:
        """Whether ``make test`` may call this a success."""
        if self.left_out is not None:
            return not (IN_CI and self.tier.required)
        return self.exit_code == 0 and not (IN_CI and self.skipped)

    def __str__(self) -> str:
        if self.left_out is not None:
            return f"{self.tier.name:<13} left out: {self.left_out}"
        skips = "".join(f"\n{'':<14}skipped: {reason}" for reason in self.skipped)
        return f"{self.tier.name:<13} {self.passed} passed, {self.failed} failed in {self.seconds:.0f} s{skips}"


def run(tier: Tier, *, whole: bool) -> Outcome:
    """Run one tier; ``whole`` runs also what ``make test`` leaves to the tier's own target."""
    print(f"\n== {tier.name}", flush=True)
    started = time.monotonic()
    obstacle = None if whole and tier.name == "e2e" else tier.obstacle()
    if obstacle is not None:
        print(f"left out: {obstacle}", flush=True)
        return Outcome(tier, 0.0, left_out=obstacle)
    arguments = WHOLE_E2E if whole and tier.name == "e2e" else tier.arguments
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"tests/{tier.name}", "-q", f"--junitxml={report}", *arguments]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        cases = list(ET.parse(report).getroot().iter("testcase")) if report.exists() else []  # noqa: S314 - our own file
    skipped = [case.find("skipped") for case in cases]
    failed = sum(case.find("failure") is not None or case.find("error") is not None for case in cases)
    reasons = sorted({reason.get("message", "") for reason in skipped if reason is not None})
    passed = len(cases) - failed - sum(reason is not None for reason in skipped)
    return Outcome(tier, time.monotonic() - started, passed, failed, tuple(reasons), exit_code=code)


def main() -> int:
    """Run the named tiers, or all of them; 0 where all is well."""
    wanted = sys.argv[1:]
    unknown = set(wanted) - {tier.name for tier in TIERS}
    if unknown:
        print(f"no such tier: {', '.join(sorted(unknown))}; there are {', '.join(tier.name for tier in TIERS)}")
        return 2
    outcomes = [run(tier, whole=bool(wanted)) for tier in TIERS if not wanted or tier.name in wanted]
    print("\n== result")
    for outcome in outcomes:
        print(outcome)
    print(f"{sum(o.passed for o in outcomes)} passed, {sum(o.failed for o in outcomes)} failed")
    bad = [outcome.tier.name for outcome in outcomes if not outcome.good]
    if bad:
        print(
            f"not good: {', '.join(bad)}" + (" (in CI a left-out tier or a skipped test is a failure)" if IN_CI else "")
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
