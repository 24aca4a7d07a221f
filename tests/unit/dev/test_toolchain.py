"""Tools are found or built once, for the version that is pinned; a fake `go` notes each build."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dev import toolchain

ROOT = Path(__file__).parents[3]
GO_MOD = "module example.invalid/tools/hello\n\ngo 1.24.0\n\nrequire example.invalid/hello {version} // indirect\n"
FAKE_GO = """#!/bin/sh
if [ "$1" = env ]; then echo "go$FAKE_GO_VERSION"; exit; fi
echo "$@" >> "$FAKE_GO_BUILDS"
sleep "$FAKE_GO_SECONDS"
if [ -n "$FAKE_GO_ERROR" ]; then echo "$FAKE_GO_ERROR" >&2; exit 1; fi
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\necho hello\\n' > "$2"
chmod +x "$2"
"""
ENSURE = """
from pathlib import Path
from dev import toolchain
toolchain.SOURCES = Path("{sources}")
toolchain.TOOLS = {{"hello": toolchain.Tool("example.invalid/hello", "hello", "example.invalid/hello")}}
print(toolchain.ensure("hello")["hello"])
"""


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the fake go appends its command lines to."""
    go, notes, sources = tmp_path / "bin" / "go", tmp_path / "builds", tmp_path / "tools"
    go.parent.mkdir()
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    notes.touch()
    (sources / "hello").mkdir(parents=True)
    tool = toolchain.Tool("example.invalid/hello", "hello", "example.invalid/hello", "-X hello.minor={minor}")
    monkeypatch.setattr(toolchain, "SOURCES", sources)
    monkeypatch.setattr(toolchain, "TOOLS", {"hello": tool})
    monkeypatch.setenv("PATH", f"{go.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_GO_BUILDS", str(notes))
    monkeypatch.setenv("FAKE_GO_VERSION", "1.26.8")
    monkeypatch.setenv("FAKE_GO_SECONDS", "0")
    monkeypatch.setenv("FAKE_GO_ERROR", "")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    toolchain._go.cache_clear()
    pin(sources, "v1.34.4")
    return notes


def pin(sources: Path, version: str) -> None:
    (sources / "hello" / "go.mod").write_text(GO_MOD.format(version=version))


def test_a_tool_is_built_once(builds: Path) -> None:
    first = toolchain.ensure("hello")
    second = toolchain.ensure("hello")

    assert first == second
    assert os.access(first["hello"], os.X_OK)
    assert len(builds.read_text().splitlines()) == 1


def test_a_build_is_stripped_reproducible_and_knows_its_version(builds: Path) -> None:
    toolchain.ensure("hello")

    command = builds.read_text()
    assert "-mod=readonly" in command
    assert "-trimpath" in command
    assert "-ldflags -s -w -X hello.minor=34" in command


def test_a_new_version_is_another_build(builds: Path) -> None:
    old = toolchain.ensure("hello")["hello"]

    pin(toolchain.SOURCES, "v1.35.0")
    new = toolchain.ensure("hello")["hello"]

    assert ("v1.34.4" in str(old), "v1.35.0" in str(new)) == (True, True)
    assert len(builds.read_text().splitlines()) == 2


def test_a_changed_dependency_is_another_build(builds: Path) -> None:
    toolchain.ensure("hello")

    (toolchain.SOURCES / "hello" / "go.sum").write_text("example.invalid/dependency v1.0.1 h1:0\n")
    toolchain.ensure("hello")

    assert len(builds.read_text().splitlines()) == 2


def test_what_kubebuilder_assets_holds_is_taken(builds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tmp_path / "hello"
    given.touch(mode=0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))

    assert toolchain.ensure("hello") == {"hello": given}
    assert builds.read_text() == ""


def test_two_processes_that_want_the_same_build_it_once(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_GO_SECONDS", "1")
    command = [sys.executable, "-c", ENSURE.format(sources=toolchain.SOURCES)]

    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60) for process in both]

    assert [process.returncode for process in both] == [0, 0]
    assert len(builds.read_text().splitlines()) == 1
    assert sum("another process is at the build of hello, waiting" in error for _, error in outputs) == 1


def test_a_failed_build_shows_the_compilers_words_and_leaves_nothing(
    builds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del builds
    monkeypatch.setenv("FAKE_GO_ERROR", "main.go:3: undefined: hello")

    with pytest.raises(toolchain.ToolchainError, match=r"(?s)building hello v1.34.4 failed.*undefined: hello"):
        toolchain.ensure("hello")

    assert toolchain.find("hello") is None
    assert list((tmp_path / "cache").rglob("hello-*")) == []


def test_without_a_usable_go_one_sentence_says_what_to_install(builds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del builds
    monkeypatch.setenv("FAKE_GO_VERSION", "1.21.3")
    (toolchain.SOURCES / "go").mkdir()
    (toolchain.SOURCES / "go" / "requirements.txt").write_text("--no-index\ngo-bin==0 --hash=sha256:" + "0" * 64 + "\n")

    with pytest.raises(toolchain.ToolchainError, match=r"install Go >= 1\.24\.0 and put it on PATH"):
        toolchain.ensure("hello")


def test_an_unknown_tool_is_refused_with_the_known_ones() -> None:
    with pytest.raises(toolchain.ToolchainError, match=r"no such tool: helm2\. Known: etcd, kube-apiserver"):
        toolchain.ensure("helm2")


@pytest.mark.parametrize("name", [name for name, tool in toolchain.TOOLS.items() if tool.module])
def test_every_foreign_tool_is_pinned_with_its_dependencies(name: str) -> None:
    tool = toolchain.TOOLS[name]

    version = toolchain.version(name)

    assert re.fullmatch(r"v\d+\.\d+\.\d+", version)
    assert f"{tool.module} {version} h1:" in (toolchain.SOURCES / tool.folder / "go.sum").read_text()
