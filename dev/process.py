"""Child processes that never outlive us, and waits with a deadline."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

T = TypeVar("T")

# Runs between fork and the real program: asks the kernel to kill it when its parent dies (prctl(2): PR_SET_PDEATHSIG
# is 1), then becomes that program. A separate interpreter and not preexec_fn, which may deadlock in a process with
# threads. The look at the parent closes the gap in which it died before the request.
_DIE_WITH_PARENT = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent died before the child began")
os.execvpe(sys.argv[2], sys.argv[2:], os.environ)
"""


class ChildDiedError(RuntimeError):
    """A child process ended although it should run; the message holds the end of its log."""


class DeadlineError(AssertionError):
    """What a wait waited for did not come true in time; the message says what was seen instead."""


class Process(Protocol):
    """What of ``subprocess.Popen`` owners of child processes use."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """How it ended (negative: the signal that ended it), None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired where it did not end in time."""

    def send_signal(self, number: int, /) -> None:
        """Send it a signal, if it still runs."""

    def terminate(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it at once."""


@dataclass(frozen=True)
class Child:
    """A running child process whose output goes to a file."""

    name: str
    log: Path
    process: Process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: the signal that ended it), None while it runs."""
        return self.process.poll()

    def log_tail(self, lines: int = 20) -> str:
        """The last `lines` lines that it printed."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def require_running(self) -> None:
        """Raise ChildDiedError, with the end of the log, where the process is gone."""
        if (code := self.exit_code) is not None:
            raise ChildDiedError(f"{self.name} ended with {code}; the end of {self.log}:\n{self.log_tail()}")

    def stop(self, grace: float = 5) -> int:
        """Ask it to end, kill it after `grace` seconds, and return how it ended."""
        if self.exit_code is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def kill(self) -> int:
        """End it at once, as a crash would, and return how it ended."""
        self.process.kill()
        return self.process.wait()


def start(
    command: Sequence[str | Path],
    *,
    name: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Child:
    """Start a child process that the kernel kills when this process ends, however it ends.

    It is out of reach of the terminal's Ctrl-C, so that its owner can stop it in order.

    Args:
        command: the program and its arguments.
        name: what messages call it.
        log: the file that its output is appended to.
        env: its whole environment; None: ours.
        cwd: its working directory.

    Raises:
        RuntimeError: outside the main thread. The kernel ties a child to the thread that started it, not to us.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(f"{name} must be started by the main thread: the kernel would kill it when this thread ends")
    wrapper = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid())]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*wrapper, *(str(word) for word in command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
    return Child(name=name, log=log, process=process)


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    name: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    grace: float = 5,
) -> Iterator[Child]:
    """Like `start`, and stop the process at the end of the block, killing it after `grace` seconds."""
    with stopped(start(command, name=name, log=log, env=env, cwd=cwd), grace=grace) as child:
        yield child


@contextmanager
def stopped(child: Child, *, grace: float = 5) -> Iterator[Child]:
    """Stop a process at the end of the block, killing it after `grace` seconds."""
    try:
        yield child
    finally:
        child.stop(grace)


def wait_until(
    predicate: Callable[[], T | None],
    *,
    deadline: float,
    describe: Callable[[], object] | str = "",
    interval: float = 0.05,
) -> T:
    """Call `predicate` until it gives something true, and return that.

    Args:
        predicate: what to wait for. An exception ends the wait at once.
        deadline: seconds from now.
        describe: what is being waited for, or a function that shows the state when the wait is lost.
        interval: seconds between two calls.

    Raises:
        DeadlineError: with what `describe` says and the last answer of `predicate`.
    """
    end = time.monotonic() + deadline
    while not (answer := predicate()):
        if time.monotonic() >= end:
            seen = describe() if callable(describe) else describe
            raise DeadlineError(f"not within {deadline:g} s: {seen} (last answer: {answer!r})")
        time.sleep(interval)
    return answer
