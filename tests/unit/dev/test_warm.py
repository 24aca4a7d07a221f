"""Programs that start with their imports done are processes as any other, and end with their owner."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dev.process import Child, ChildDiedError, wait_until
from dev.warm import WarmStarter
from tests.unit.dev.test_process import ROOT, is_running

IMPORTED = "tabnanny"
"""A module that nobody else needs."""
OWNER = """
import signal, sys
from pathlib import Path
from dev.warm import WarmStarter
starter = WarmStarter()
child = starter.start(["-c", "import signal; signal.pause()"], name="sleeper", log=Path(sys.argv[1]), env={})
print(child.pid, flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def starter() -> WarmStarter:
    return WarmStarter(IMPORTED)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def run(starter: WarmStarter, code: str, log: Path, *arguments: str, **env: str) -> Child:
    return starter.start(["-c", code, *arguments], name="program", log=log, env=env)


def test_a_program_has_its_own_arguments_environment_and_folder_and_appends_to_its_log(
    starter: WarmStarter, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(log.parent)
    log.write_text("Before.\n")

    child = run(starter, "import os, sys; print(sys.argv, dict(os.environ), os.getcwd())", log, "a", B="c")

    assert child.process.wait(30) == 0
    assert log.read_text() == f"Before.\n['-c', 'a'] {{'B': 'c'}} {log.parent}\n"


def test_a_module_is_run_as_python_runs_it(starter: WarmStarter, log: Path) -> None:
    child = starter.start(["-m", "json.tool", "--help"], name="program", log=log, env={})

    assert child.process.wait(30) == 0
    assert log.read_text().startswith("usage: python -m json.tool")


def test_its_imports_are_done(starter: WarmStarter, log: Path) -> None:
    child = run(starter, f"import sys; sys.exit({IMPORTED!r} not in sys.modules)", log)

    assert child.process.wait(30) == 0
    assert IMPORTED not in sys.modules


@pytest.mark.parametrize(
    ("code", "ended"),
    [("import sys; sys.exit(3)", 3), ("1 / 0", 1), ("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", -6)],
    ids=["exit", "error", "signal"],
)
def test_it_is_told_how_a_program_ended(starter: WarmStarter, log: Path, code: str, ended: int) -> None:
    child = run(starter, code, log)

    assert child.process.wait(30) == ended
    assert child.exit_code == ended


def test_what_a_program_leaves_to_its_end_is_done(starter: WarmStarter, log: Path) -> None:
    code = "import atexit, threading; atexit.register(print, 'done'); threading.Timer(0.1, print, ['late']).start()"

    assert run(starter, code, log).process.wait(30) == 0
    assert log.read_text() == "late\ndone\n"


def test_a_running_program_takes_signals(starter: WarmStarter, log: Path) -> None:
    child = run(starter, "import signal; signal.pause()", log)

    assert child.exit_code is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.process.wait(0.01)
    assert child.stop() == -signal.SIGTERM
    assert run(starter, "import signal; signal.pause()", log).kill() == -signal.SIGKILL


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_a_program_ends_with_whoever_started_it(log: Path, end: signal.Signals) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(log)], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    try:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        assert is_running(child)
    finally:
        owner.send_signal(end)
        owner.communicate()

    wait_until(lambda: not is_running(child), deadline=30, describe=f"{child} outlived its owner")


def test_imports_that_fail_are_told(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    starter = WarmStarter("there_is_no_such_module")

    with pytest.raises(ChildDiedError, match="what it printed tells why"):
        run(starter, "", log)

    wait_until(lambda: "No module named 'there_is_no_such_module'" in capfd.readouterr().err, deadline=30)


def test_options_of_the_interpreter_are_refused(starter: WarmStarter, log: Path) -> None:
    with pytest.raises(ValueError, match="takes no -X any more"):
        starter.start(["-X", "importtime", "-m", "json.tool"], name="program", log=log, env={})
