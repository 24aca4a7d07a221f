"""The layout that the import rules of pyproject.toml cannot say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for top in ("operator", "agent_runtime", "dev", "tests")
    for path in (ROOT / top).rglob("*.py")
    if path.is_file()
)
MEANINGLESS = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}
LONGEST = 450
"""Lines; about 400, beyond which a file tells more than one story."""


def test_operator_is_a_folder_and_no_package() -> None:
    """As a package it would hide the standard library's operator from everything that runs in this folder."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_every_module_has_a_name_that_says_something() -> None:
    meaningless = [str(path) for path in SOURCES if path.stem in MEANINGLESS or path.parent.name in MEANINGLESS]

    assert meaningless == []


def test_every_module_tells_one_story() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}

    assert {path: lines for path, lines in long.items() if lines > LONGEST} == {}


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("agent_runtime.config", ["agentservice_operator", "fastapi", "starlette", "uvicorn", "anthropic", "aiohttp"]),
        ("agentservice_operator.api.v1alpha1.parse", ["kopf", "kubernetes", "aiohttp", "fastapi"]),
        ("agentservice_operator.builders.build", ["kopf", "kubernetes", "aiohttp", "fastapi"]),
        ("agentservice_operator.status.compute", ["kopf", "kubernetes", "aiohttp", "fastapi"]),
        ("agentservice_operator.engine.queue", ["kopf", "kubernetes", "fastapi"]),
        ("agentservice_operator.engine.reconcile", ["kopf", "kubernetes", "fastapi"]),
        ("agentservice_operator.cli.main", ["kopf", "kubernetes"]),
    ],
)
def test_what_a_module_loads(module: str, unwanted: list[str]) -> None:
    """Also through others, which the rules on imports do not see: what is loaded is paid for in memory and time."""
    loads = f"import sys, {module}; print(sorted(set(sys.modules) & set({unwanted!r})))"

    loaded = subprocess.run(
        [sys.executable, "-c", loads],
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'operator'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert loaded.stdout.strip() == "[]"
