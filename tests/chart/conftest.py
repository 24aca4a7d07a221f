"""Helm and the chart."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev import toolchain

CHART = Path(__file__).parent.parent.parent / "charts" / "agentservice-operator"
OLDEST_KUBERNETES = "1.32.0"

Object = dict[str, Any]
Helm = Callable[..., "subprocess.CompletedProcess[str]"]
Render = Callable[..., list[Object]]


@pytest.fixture(scope="session", params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest) -> Helm:
    """Runs one of the supported Helm versions."""
    program = toolchain.ensure(request.param)[request.param]

    def run(*arguments: str, values: Object | None = None) -> subprocess.CompletedProcess[str]:
        given = ("--values", "-") if values is not None else ()
        return subprocess.run(
            [program, *arguments, *given],
            input=yaml.safe_dump(values),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def render(helm: Helm) -> Render:
    """Renders the chart with values and returns its objects, each set of values once."""
    rendered: dict[str, str] = {}

    def run(values: Object | None = None, *, release: str = "agents", tests: bool = False) -> list[Object]:
        key = f"{release} {tests} {values}"
        rendered[key] = text = rendered.get(key) or render_text(helm, values, release=release, tests=tests)
        return [item for item in yaml.safe_load_all(text) if item]

    return run


def render_text(helm: Helm, values: Object | None = None, *, release: str = "agents", tests: bool = False) -> str:
    """The chart as rendered for a release in the namespace ``platform``, with what ``helm test`` runs if `tests`."""
    done = helm(
        "template",
        release,
        str(CHART),
        "--namespace=platform",
        f"--kube-version={OLDEST_KUBERNETES}",
        *(() if tests else ("--skip-tests",)),
        values=values or {},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
