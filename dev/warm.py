"""Python programs that start with their imports done: each is forked from a process that made them once.

The imports of the runtime take more CPU than most of what a test then asks of it. A program that is started warm is a
process of its own like any other, with its own environment, output, signals and exit code; only how it came to its
modules differs, and what it reads from its environment while they are imported.

    starter = WarmStarter("agent_runtime.main", "anthropic")
    child = starter.start(["-m", "agent_runtime"], name="runtime", log=log, env=env)

The process that has the imports forks a guard for each program: the guard forks the program, waits for its end and
tells how it ended, which only a parent learns. A program dies with its guard, guards die with the process that forked
them, and that one ends with us.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.process import Child, ChildDiedError

_PR_SET_PDEATHSIG = 1


class WarmProcess:
    """A program that was started warm, with what of ``subprocess.Popen`` its owners use.

    Args:
        guard: tells the program's process id in a line, and how it ended.

    Raises:
        ConnectionError: there is no guard.
    """

    def __init__(self, guard: socket.socket) -> None:
        self._guard = guard
        self._code: int | None = None
        pid = b""
        while not pid.endswith(b"\n"):
            if not (digit := guard.recv(1)):
                raise ConnectionAbortedError
            pid += digit
        self.pid = int(pid)

    def poll(self) -> int | None:
        """How it ended (negative: the signal that ended it), None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Args:
            timeout: in seconds; None: for ever.

        Raises:
            subprocess.TimeoutExpired: it did not end in time.
        """
        if self._code is None:
            self._guard.settimeout(timeout)
            try:
                told = self._guard.recv(64)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(["python"], timeout or 0) from None
            self._guard.close()
            self._code = int(told) if told else -signal.SIGKILL  # its guard was killed, and it was with it
        return self._code

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class WarmStarter:
    """Starts programs whose imports are done.

    Args:
        modules: what is imported, in this order.
        path: further folders of modules.
    """

    def __init__(self, *modules: str, path: Sequence[Path] = ()) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._imported = subprocess.Popen(
                [sys.executable, "-m", "dev.warm", str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))} if path else None,
                start_new_session=True,
            )

    def start(self, arguments: Sequence[str], *, name: str, log: Path, env: Mapping[str, str]) -> Child:
        """Start a program in our working directory.

        Args:
            arguments: of Python, ``["-m", module, ...]`` or ``["-c", code, ...]``.
            name: what messages call it.
            log: the file that its output is appended to.
            env: its whole environment.

        Raises:
            ChildDiedError: the imports failed.
            ValueError: the arguments are others than those.
        """
        if arguments[0] not in {"-m", "-c"}:
            raise ValueError(f"{name}: Python runs already, and takes no {arguments[0]} any more")
        log.open("ab").close()
        request = {"arguments": list(arguments), "log": str(log), "env": dict(env), "folder": str(Path.cwd())}
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                socket.send_fds(self._control, [b"+"], [theirs.fileno()])
            ours.sendall(json.dumps(request).encode() + b"\n")
            return Child(name=name, log=log, process=WarmProcess(ours))
        except ConnectionError:
            ours.close()
            raise ChildDiedError(
                f"{name}: the process that makes the imports ended; what it printed tells why"
            ) from None


def main() -> None:
    """Import, and fork whenever we are asked to; in a fork, become the program."""
    if arguments := _fork_when_asked(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]):
        _run(arguments)


def _fork_when_asked(control: socket.socket, modules: Sequence[str]) -> list[str]:
    """Come back once in each program, with its arguments, and with none when nobody can ask any more."""
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # so that collections of the programs do not touch, and so copy, what they share
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards need no parent to wait for them
    while fds := socket.recv_fds(control, 1, 1)[1]:
        with socket.socket(fileno=fds[0]) as asked:
            if os.fork() == 0:
                control.close()
                return _guarded(asked)
    return []


def _guarded(asked: socket.socket) -> list[str]:
    """In the guard: fork the program, and come back only in it.

    Returns:
        The arguments of the program.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _die_with_parent()
    with asked.makefile("r") as reading:
        request = json.loads(reading.readline())
    guard = os.getpid()
    if pid := os.fork():
        asked.sendall(f"{pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        asked.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    asked.close()
    _die_with_parent()
    if os.getppid() != guard:
        os._exit(1)
    os.setsid()
    output = os.open(request["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["folder"])
    return [str(word) for word in request["arguments"]]


def _run(arguments: list[str]) -> None:
    """Be the program, as Python would with these arguments; its SystemExit ends the interpreter as usual."""
    how, what, *rest = arguments
    if how == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.argv = ["-c", *rest]
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - that is what -c does


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
