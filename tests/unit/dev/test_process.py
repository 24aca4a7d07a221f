"""Child processes end with their owner, and waits end with an explanation."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dev.process import ChildDiedError, DeadlineError, running, start, wait_until

ROOT = Path(__file__).parents[3]
IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)
OWNER = """
import signal, sys
from pathlib import Path
from dev.process import start
child = start(["sleep", "60"], name="sleeper", log=Path(sys.argv[1]))
print(child.pid, flush=True)
signal.pause()
"""


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A killed orphan stays as a zombie where nobody reaps it; it runs no more.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_a_child_ends_with_its_owner_however_that_ends(end: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path / "log")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        program = Path(f"/proc/{child}/comm")
        wait_until(lambda: program.read_text() == "sleep\n", deadline=10, describe=program.read_text)

        owner.send_signal(end)

    wait_until(lambda: not is_running(child), deadline=10, describe=f"the end of process {child}")


def test_a_child_is_started_by_the_main_thread_only(tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            start(["true"], name="sleeper", log=tmp_path / "log")
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()

    assert ["main thread" in str(error) for error in caught] == [True]


def test_a_child_that_will_not_stop_is_killed(tmp_path: Path) -> None:
    child = start([sys.executable, "-c", IGNORES_SIGTERM], name="deaf", log=tmp_path / "log")
    wait_until(lambda: "deaf" in child.log_tail(), deadline=10, describe=child.log_tail)

    assert child.stop(grace=0.1) == -signal.SIGKILL


def test_a_child_is_stopped_when_its_block_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="the block"),
        running(["sleep", "60"], name="sleeper", log=tmp_path / "log") as child,
    ):
        raise ValueError("the block")

    assert child.exit_code == -signal.SIGTERM


def test_a_dead_child_is_reported_with_what_it_said(tmp_path: Path) -> None:
    child = start(["sh", "-c", "echo no such flag; exit 3"], name="server", log=tmp_path / "log")
    child.process.wait(10)

    with pytest.raises(ChildDiedError, match=r"(?s)server ended with 3.*no such flag"):
        child.require_running()


def test_a_wait_gives_the_first_true_answer() -> None:
    answers = iter([None, 0, "yes", "later"])

    assert wait_until(lambda: next(answers), deadline=10, interval=0) == "yes"


def test_a_lost_wait_shows_the_state() -> None:
    with pytest.raises(DeadlineError, match=r"not within 0 s: replicas: 2 \(last answer: False\)"):
        wait_until(lambda: False, deadline=0, describe=lambda: "replicas: 2")
