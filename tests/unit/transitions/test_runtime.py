"""ACT-6: what a change writes into the configuration is what the runtime takes out of it, and then acts on."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agent_runtime import config
from agent_runtime.config import RuntimeConfig
from agent_runtime.settings import load_config
from tests.unit.transitions.cases import Sort, all_cases
from tests.unit.transitions.effects import children
from tests.unit.transitions.leaves import Leaf, Spec, leaves

RUNTIME = Path(config.__file__).parent
VALID = [case for case in all_cases(Sort.CHANGE, Sort.DELETE, Sort.BOUND) if case.valid]
MODELS = [each for each in vars(config).values() if isinstance(each, type) and issubclass(each, BaseModel)]


@pytest.mark.parametrize("leaf", leaves(), ids=str)
def test_act_6_what_is_written_for_the_runtime_is_what_it_reads(leaf: Leaf, tmp_path: Path) -> None:
    for case in VALID:
        if case.leaf != leaf:
            continue
        written = [configuration(spec) for spec in (case.before, case.after)]
        read = [taken(text, tmp_path) for text in written]

        assert (read[0] == read[1]) == (written[0] == written[1]), f"{case} does not reach the process"
        for text, of_runtime in zip(written, read, strict=True):
            known = set(paths(of_runtime.model_dump(mode="json")))
            assert set(paths(json.loads(text))) - known == set(), f"{case}: written, and ignored"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_act_6_the_runtime_looks_at_every_field(model: type[BaseModel]) -> None:
    looked_at = {
        node.attr
        for file in RUNTIME.rglob("*.py")
        if file.name != "config.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute)
    }

    # Its type says what the version is, and a file of another one is refused.
    assert set(model.model_fields) - looked_at - {"schema_version"} == set()


def configuration(spec: Spec) -> str:
    """The file that the pods of a spec mount."""
    (text,) = (next(iter(child["data"].values())) for child in children(spec) if child["kind"] == "ConfigMap")
    return str(text)


def taken(text: str, folder: Path) -> RuntimeConfig:
    """What a runtime makes of the file when it starts."""
    file = folder / "config.json"
    file.write_text(text)
    return load_config(file)


def paths(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all fields, those of list items under one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}.{key}"
            yield from paths(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, f"{path}[]")
