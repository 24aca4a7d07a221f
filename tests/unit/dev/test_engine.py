"""Which container engine is used, and what is said where there is none; the docker clients are shell scripts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dev import engine as engine_module
from dev.engine import Engine, NoEngineError, ensure_engine, find_engine


@pytest.fixture(autouse=True)
def _no_engine_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr(engine_module, "_STATE", tmp_path / "state")


def client(folder: Path, *, answers: bool = True, version: int = 28, buildx: bool = False) -> Path:
    """A docker client that notes how it was called in `calls` beside it."""
    folder.mkdir()
    script = folder / "docker"
    script.write_text(f"""#!/bin/sh
echo "$@" >> {folder}/calls
case "$1" in
info) exit {0 if answers else 1} ;;
buildx) exit {0 if buildx else 1} ;;
--version) echo "Docker version {version}.0.1, build fake" ;;
image | manifest | pull) echo "no such image" >&2; exit 1 ;;
esac
""")
    script.chmod(0o755)
    return script


def test_the_first_client_that_reaches_an_engine_and_can_use_buildkit_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = client(tmp_path / "silent", answers=False, buildx=True)
    without_plugin = client(tmp_path / "without-plugin", version=28)
    with_plugin = client(tmp_path / "with-plugin", version=28, buildx=True)
    monkeypatch.setenv("PATH", ":".join(str(c.parent) for c in (silent, without_plugin, with_plugin)))

    assert find_engine() == Engine(with_plugin)


def test_a_client_before_23_has_buildkit_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = client(tmp_path / "old", version=20)
    monkeypatch.setenv("PATH", str(old.parent))

    assert find_engine() == Engine(old)


def test_a_client_without_buildkit_is_refused_with_the_name_of_the_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(client(tmp_path / "without-plugin").parent))

    with pytest.raises(NoEngineError, match="docker-buildx"):
        find_engine()


def test_where_no_engine_can_be_had_one_sentence_offers_the_way_without_containers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(client(tmp_path / "silent", answers=False).parent))

    with pytest.raises(NoEngineError) as refused:
        ensure_engine()

    assert "DOCKER_HOST" in str(refused.value)
    assert str(refused.value).endswith("agentctl run -f examples/hello.yaml")
    assert "\n" not in str(refused.value)


def test_a_registry_that_does_not_answer_is_asked_once_an_hour(tmp_path: Path) -> None:
    docker = client(tmp_path / "offline")
    calls = tmp_path / "offline" / "calls"

    assert not Engine(docker).can_pull("example/image:1")
    assert "manifest inspect example/image:1" in calls.read_text()
    calls.unlink()

    assert not Engine(docker).can_pull("example/image:1")
    assert "manifest" not in calls.read_text()


def test_an_engine_that_we_did_not_start_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_PID_FILE", tmp_path / "dockerd.pid")

    assert engine_module.stop_engine() == "The Docker engine is not ours: left alone."


def test_the_pid_of_another_program_is_never_taken_for_our_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as other:  # after a reboot the number belongs to somebody else
        (tmp_path / "dockerd.pid").write_text(str(other.pid))
        monkeypatch.setattr(engine_module, "_PID_FILE", tmp_path / "dockerd.pid")

        said = engine_module.stop_engine()

        unharmed = other.poll() is None
        other.kill()

    assert said == "The Docker engine is not ours: left alone."
    assert unharmed
