"""Each case under golden/ is an AgentService (in.yaml) and the children that it becomes (out.yaml).

Where there is a defaults.yaml, they are those of an installation with these defaults.

``pytest tests/unit/builders/test_golden.py --update-golden`` writes what the builders render now; read the diff.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from agentservice_operator.api.v1alpha1.well_known import OPTIONAL_KINDS
from agentservice_operator.builders.defaults import AgentDefaults
from agentservice_operator.cli.documents import to_yaml
from agentservice_operator.cli.render import render
from agentservice_operator.settings import read_defaults

MONITORED = frozenset({"inherited-metadata", "longest-name", "monitoring", "workers"})
"""The cases of a cluster with the Prometheus operator; in all others its objects would be the same."""
CASES = sorted(folder for folder in (Path(__file__).parent / "golden").iterdir() if folder.is_dir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_renders_the_golden_children(case: Path, request: pytest.FixtureRequest) -> None:
    golden, installed = case / "out.yaml", case / "defaults.yaml"
    defaults = read_defaults(installed) if installed.exists() else AgentDefaults()

    served = OPTIONAL_KINDS if case.name in MONITORED else OPTIONAL_KINDS - {"PodMonitor", "PrometheusRule"}
    children = render(
        case / "in.yaml",
        runtime_image="agentservice-runtime:golden",
        namespace="default",
        defaults=defaults,
        served_kinds=served,
    )
    rendered = to_yaml(children)

    if request.config.getoption("--update-golden"):
        golden.write_text(rendered)
    assert rendered == golden.read_text()
