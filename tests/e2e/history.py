"""What happened to objects in a namespace, from a watch: also what is over again when one looks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.cluster import Cluster
from dev.process import Child, running, wait_until

_OPEN_DEADLINE = 30.0


@dataclass(frozen=True)
class History:
    """Watch events of one kind in one namespace, oldest first."""

    child: Child

    def events(self) -> list[dict[str, Any]]:
        """All events so far: type ADDED, MODIFIED or DELETED, and the object."""
        self.child.require_running()
        lines = self.child.log.read_bytes().split(b"\n")[:-1]  # the last one may be half written
        return [json.loads(line) for line in lines]

    def objects(self, name: str = "") -> list[dict[str, Any]]:
        """Every state of the object of that name that was seen; of all objects where `name` is empty."""
        states = [event["object"] for event in self.events() if event["type"] != "DELETED"]
        return [state for state in states if not name or state["metadata"]["name"] == name]


@contextmanager
def followed(cluster: Cluster, namespace: str, resource: str, folder: Path) -> Iterator[History]:
    """Follow the objects of a resource, such as "deployments", for the time of the block; there must be one."""
    log = folder / f"{namespace}.{resource}.json"
    options = [f"--kubeconfig={cluster.kubeconfig}", f"--namespace={namespace}", "--show-managed-fields"]
    options += ["--output=jsonpath={@}{'\\n'}"]
    command: list[str | Path] = [cluster.kubectl_path, "get", resource, "--watch", "--output-watch-events", *options]
    with running(command, name=f"kubectl get {resource} --watch", log=log) as child:
        history = History(child)
        wait_until(history.events, deadline=_OPEN_DEADLINE, describe=child.log_tail)
        yield history


def ready_endpoints(endpoint_slice: dict[str, Any]) -> int:
    """How many pods get traffic."""
    return sum(endpoint["conditions"].get("ready", False) for endpoint in endpoint_slice.get("endpoints") or ())
