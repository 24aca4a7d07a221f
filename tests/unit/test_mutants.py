"""The mutants fit the code of today, so that ``make mutants`` never finds them stale."""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant, StaleMutantError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.breaks)
def test_a_mutant_changes_its_file_into_another_program(mutant: Mutant, tmp_path: Path) -> None:
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    shutil.copy2(ROOT / mutant.file, copy)

    mutant.apply(tmp_path)

    assert ast.dump(ast.parse(copy.read_text())) != ast.dump(ast.parse((ROOT / mutant.file).read_text()))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.breaks)
def test_the_test_of_a_mutant_is_there(mutant: Mutant) -> None:
    file, name = mutant.test.split("[")[0].split("::")

    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.parse((ROOT / file).read_text()).body if isinstance(node, functions)}


def test_every_promise_of_the_architecture_page_has_a_mutant() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("\n## Promises\n")[2].partition("\n## ")[0]

    promises = re.findall(r"^\| (?!promise \|)([^|]+?) \|", table, re.MULTILINE)

    assert promises
    assert [promise for promise in promises if promise not in {mutant.promise for mutant in MUTANTS}] == []


def test_a_mutant_that_no_longer_fits_says_where(tmp_path: Path) -> None:
    mutant = Mutant("a promise", "breaks it", "code.py", "x = 1", "x = 2", "tests/test_x.py::test_x")
    (tmp_path / "code.py").write_text("x = 1\nx = 1\n")

    with pytest.raises(StaleMutantError, match=r"code\.py has 2 times instead of once: 'x = 1'\n.*'breaks it'"):
        mutant.apply(tmp_path)
