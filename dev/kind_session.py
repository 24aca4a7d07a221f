"""One cluster with the operator for all processes of a test session, gone with the last of them, however that ends.

Each user holds a shared lock on a file, which the kernel gives back when the process ends, be it by SIGKILL. A holder
process makes the cluster and waits for the exclusive lock: once it has it, nobody is left, and it removes what it made.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev import definitions
from dev.cluster import Cluster, KubectlError
from dev.engine import Engine, ensure_engine, find_engine, stop_engine
from dev.images import REPOSITORY, Images, build_images
from dev.kind import delete_kind_cluster, existing_cluster, kind_cluster, kind_clusters, load_images
from dev.process import Child, wait_until
from dev.release import install_operator, uninstall_operator

_PREFIX = "agentservice-e2e-"  # and the holder's process id
_NODES = 2  # so that one can be drained
_START_DEADLINE = 2400.0  # seconds; the first start ever builds the node image and its programs


@dataclass(frozen=True)
class Session:
    """What the processes of a session share.

    Args:
        cluster: has the operator installed, and both images.
        images: what was installed.
        engine: where more images can be built for it; None where the cluster is not ours.
    """

    cluster: Cluster
    images: Images
    engine: Engine | None


@contextmanager
def shared_session(folder: Path) -> Iterator[Session]:
    """Use the session that belongs to `folder`, starting it where nobody uses it yet.

    Args:
        folder: the same for all that share it; holds the log of the start.

    Raises:
        ChildDiedError: it could not be started; the end of the message says why.
        DeadlineError: it did not start in time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    users = _users(folder)
    with users.open("a") as mine:
        fcntl.flock(mine, fcntl.LOCK_SH)
        with (folder / "start.lock").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if not _state(folder).exists():
                _start_holder(folder)
        yield _read(_state(folder))
    _wait_until_removed(users)


def hold(folder: Path) -> None:
    """Make a session, and remove it when nobody uses it any more."""
    made = _own if not (context := os.environ.get("E2E_CONTEXT")) else lambda: _in_existing(context)
    with _users(folder).open("a") as users, made() as session:
        _write(_state(folder), session)
        fcntl.flock(users, fcntl.LOCK_EX)
        _state(folder).unlink()


@contextmanager
def _own() -> Iterator[Session]:
    engine = ensure_engine()
    try:
        _delete_orphans(engine)
        images = build_images(engine)
        name = f"{_PREFIX}{os.getpid()}"
        try:
            cluster = kind_cluster(engine, name, nodes=_NODES)
            load_images(engine, cluster, images.operator, images.runtime)
            definitions.install(cluster)
            install_operator(cluster, images)
            yield Session(cluster, images, engine)
        finally:
            delete_kind_cluster(engine, name)
    finally:
        if engine.started_here:
            print(stop_engine())


@contextmanager
def _in_existing(context: str) -> Iterator[Session]:
    """A session in a cluster of the user's. The operator is removed afterwards, CustomResourceDefinitions stay."""
    cluster = existing_cluster(context)
    try:
        images, engine = _images_for(cluster, context)
        try:
            definitions.install(cluster)
            install_operator(cluster, images)
            yield Session(cluster, images, engine)
        finally:
            uninstall_operator(cluster)
    finally:
        shutil.rmtree(cluster.kubeconfig.parent)  # a copy of the user's credentials


def _images_for(cluster: Cluster, context: str) -> tuple[Images, Engine | None]:
    """Images that an existing cluster has or can pull, and the engine where more can be built for it."""
    engine = find_engine()
    operator, runtime = os.environ.get("E2E_OPERATOR_IMAGE"), os.environ.get("E2E_RUNTIME_IMAGE")
    if operator and runtime:
        return Images(operator, runtime), engine
    if engine and cluster.name in kind_clusters(engine):
        images = build_images(engine)
        load_images(engine, cluster, images.operator, images.runtime)
        return images, engine
    raise RuntimeError(
        f"E2E_CONTEXT={context} is no kind cluster of this machine: push both images to where it can pull them, "
        "and name them in E2E_OPERATOR_IMAGE and E2E_RUNTIME_IMAGE"
    )


def _delete_orphans(engine: Engine) -> None:
    """Delete the clusters of holders that were killed before they could do it."""
    for name in kind_clusters(engine):
        holder = re.fullmatch(rf"{_PREFIX}(\d+)", name)
        if holder and not Path("/proc", holder[1]).exists():
            delete_kind_cluster(engine, name)


def _start_holder(folder: Path) -> None:
    log = folder / "session.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dev.kind_session", folder],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C must not reach it: it is what cleans up afterwards
        )
    holder = Child("the end-to-end session", log, process)

    def started() -> bool:
        holder.require_running()
        return _state(folder).exists()

    wait_until(started, deadline=_START_DEADLINE, describe=holder.log_tail, interval=0.2)


def _wait_until_removed(users: Path) -> None:
    """Return at once while others use the session; the last one stays until the holder has removed all."""
    with users.open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                break  # others use it, or the holder has the lock and is at work
            fcntl.flock(lock, fcntl.LOCK_UN)
            if not _state(users.parent).exists():
                return
            time.sleep(0.05)  # the holder waits for the lock and gets it now
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_SH)


def _users(folder: Path) -> Path:
    return folder / "users.lock"


def _state(folder: Path) -> Path:
    return folder / "session.json"


def _write(path: Path, session: Session) -> None:
    state = {
        "name": session.cluster.name,
        "kubeconfig": str(session.cluster.kubeconfig),
        "kubectl": str(session.cluster.kubectl_path),
        "operator": session.images.operator,
        "runtime": session.images.runtime,
        "docker": str(session.engine.client) if session.engine else None,
    }
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(state))
    unfinished.rename(path)


def _read(path: Path) -> Session:
    state = json.loads(path.read_text())
    return Session(
        cluster=Cluster(state["name"], Path(state["kubeconfig"]), Path(state["kubectl"])),
        images=Images(state["operator"], state["runtime"]),
        engine=Engine(Path(state["docker"])) if state["docker"] else None,
    )


if __name__ == "__main__":
    try:
        hold(Path(sys.argv[1]))
    except (RuntimeError, KubectlError, AssertionError) as error:
        raise SystemExit(str(error)) from None
