"""``make generate`` writes what the models say; its check names what is stale and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev import generate


def test_the_committed_files_are_fresh() -> None:
    assert generate.main(["--check"]) == 0


def test_a_stale_file_is_named_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "FILES", {"fresh": lambda: "a", "stale": lambda: "b", "folder/absent": lambda: "c"})
    (tmp_path / "fresh").write_text("a")
    (tmp_path / "stale").write_text("old")

    assert generate.main(["--check"]) == 1

    assert capsys.readouterr().err.splitlines() == [
        "stale is stale: run `make generate`",
        "folder/absent is stale: run `make generate`",
    ]
    assert (tmp_path / "stale").read_text() == "old"
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
