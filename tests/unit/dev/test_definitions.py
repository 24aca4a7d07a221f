"""Definitions of other projects are pinned as programs are, and fetched once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dev import definitions, toolchain


@pytest.mark.parametrize("module", definitions.FILES)
def test_every_module_is_pinned_with_its_content(module: str) -> None:
    folder = toolchain.SOURCES / "definitions"

    (pinned,) = (line.split()[1] for line in (folder / "go.mod").read_text().splitlines() if module in line)

    assert f"{module} {pinned} h1:" in (folder / "go.sum").read_text()


def test_files_are_fetched_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(module: str, folder: str) -> Path:
        asked.append(f"{folder}: {module}")
        for path in definitions.FILES[module]:
            (tmp_path / module / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / module / path).write_text(f"of {module}")
        return tmp_path / module

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(toolchain, "download", download)

    first = definitions.ensure()
    second = definitions.ensure()

    assert first == second
    assert asked == [f"definitions: {module}" for module in definitions.FILES]
    by_name = {file.name: file.read_text() for file in first}
    assert by_name["gateway.networking.k8s.io_httproutes.yaml"] == "of sigs.k8s.io/gateway-api"
    assert len(by_name) == sum(map(len, definitions.FILES.values()))


def test_a_module_that_is_not_pinned_is_refused_by_name() -> None:
    with pytest.raises(toolchain.ToolchainError, match=r"definitions/go\.mod does not require example\.invalid/none"):
        toolchain.download("example.invalid/none", "definitions")
