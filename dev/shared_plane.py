"""One control plane for several processes: the first one starts it, and it ends with the last one, however that ends.

Each user holds a shared lock on a file, which the kernel gives back when the process ends, be it by SIGKILL. A holder
process runs the plane and waits for the exclusive lock: once it has it, nobody is left.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.cluster import Cluster
from dev.controlplane import control_plane
from dev.process import Child, ChildDiedError, DeadlineError, wait_until
from dev.toolchain import ToolchainError

_ROOT = Path(__file__).parent.parent
_START_DEADLINE = 1800.0  # seconds; the first start ever builds the programs


@contextmanager
def shared_control_plane(folder: Path) -> Iterator[Cluster]:
    """Use the control plane that belongs to `folder`, starting it where nobody uses it yet.

    Args:
        folder: the same for all that share it; holds the plane's files.

    Returns:
        The cluster; it stays until the last user has left its block or died.

    Raises:
        dev.process.ChildDiedError: it could not be started; the message says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _users(folder).open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with (folder / "start.lock").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not _state(folder).exists():
                _start_holder(folder)
        yield _read(_state(folder))


def hold(folder: Path) -> None:
    """Run the plane of `folder` until nobody uses it."""
    # Whoever comes while the plane ends waits for the lock, which is ours until nothing is left, and then starts anew.
    with _users(folder).open("w") as users, control_plane(folder / "plane") as cluster:
        _write(_state(folder), cluster)
        fcntl.flock(users, fcntl.LOCK_EX)
        _state(folder).unlink()


def _start_holder(folder: Path) -> None:
    log = folder / "holder.log"
    log.unlink(missing_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dev.shared_plane", folder],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    holder = Child("the control plane", log, process)

    def started() -> bool:
        holder.require_running()
        return _state(folder).exists()

    wait_until(started, deadline=_START_DEADLINE, describe=holder.log_tail)


def _users(folder: Path) -> Path:
    return folder / "users.lock"


def _state(folder: Path) -> Path:
    return folder / "cluster.json"


def _write(path: Path, cluster: Cluster) -> None:
    state = {
        "name": cluster.name,
        "kubeconfig": str(cluster.kubeconfig),
        "kubectl_path": str(cluster.kubectl_path),
        "audit_log": str(cluster.audit_log),
    }
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(state))
    unfinished.rename(path)


def _read(path: Path) -> Cluster:
    state = json.loads(path.read_text())
    return Cluster(
        name=state["name"],
        kubeconfig=Path(state["kubeconfig"]),
        kubectl_path=Path(state["kubectl_path"]),
        audit_log=Path(state["audit_log"]),
    )


if __name__ == "__main__":
    try:
        hold(Path(sys.argv[1]))
    except (ToolchainError, ChildDiedError, DeadlineError) as error:
        raise SystemExit(str(error)) from None
