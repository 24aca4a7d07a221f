"""What runs beside the agents in a test's namespace: callers at a steady pace, a provider that is not the real one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.cluster import Cluster
from dev.images import REPOSITORY
from dev.process import wait_until
from tests.e2e.agents import READY_DEADLINE

_LOAD = Path(__file__).parent / "in_cluster" / "load.py"
_KNOCK = Path(__file__).parent / "in_cluster" / "knock.py"
_FAKE = REPOSITORY / "dev" / "fake_messages_api"
_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class Load:
    """Callers that are at work."""

    cluster: Cluster
    namespace: str
    pod: str

    def outcomes(self) -> Counter[str]:
        """How many calls have ended how; "200" is an answer."""
        return Counter(call["outcome"] for call in self.calls())

    def lost(self) -> list[dict[str, Any]]:
        """The calls so far that were not answered; only as long as they go on can they be asked for."""
        return [call for call in self.calls() if call["outcome"] != "200"]

    def calls(self) -> list[dict[str, Any]]:
        """Every call so far."""
        log = self.cluster.kubectl("logs", self.pod, f"--namespace={self.namespace}")
        return [json.loads(line) for line in log.splitlines()]

    def wait_for_answers(self, count: int) -> None:
        """Wait until so many more calls than now have been answered."""
        before = self.outcomes()["200"]
        wait_until(
            lambda: self.outcomes()["200"] >= before + count,
            deadline=READY_DEADLINE,
            describe=self.outcomes,
            interval=0.5,
        )


@contextmanager
def load(
    cluster: Cluster,
    namespace: str,
    name: str,
    *,
    image: str,
    callers: int = 4,
    pace: float = 5,
    pod: str = "load",
    node: str | None = None,
) -> Iterator[Load]:
    """Call an agent from inside the cluster, through its Service, for the time of the block.

    Args:
        cluster: where.
        namespace: that of the AgentService.
        name: the AgentService.
        image: the runtime's, for its Python.
        callers: how many call side by side.
        pace: requests per second of each.
        pod: the name of the pod that calls.
        node: where it runs; None: anywhere.
    """
    service = cluster.api.get(cluster.api.path("v1", "Service", namespace=namespace, name=name))
    port = service["spec"]["ports"][0]["port"]
    command = ["python", "/source/load.py", f"http://{name}:{port}", f"--callers={callers}", f"--pace={pace:g}"]
    key = {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": f"{name}-api-keys", "key": "default"}}}
    _mount(cluster, namespace, pod, {"load.py": _LOAD.read_text()})
    _start(cluster, namespace, pod, image=image, command=command, mount="/source", env=[key], node=node)
    try:
        yield Load(cluster, namespace, pod)
    finally:
        cluster.api.delete(_pod(cluster, namespace, pod), gracePeriodSeconds="0")


@dataclass(frozen=True)
class Knocker:
    """A pod that tries addresses again and again."""

    cluster: Cluster
    namespace: str
    pod: str

    def wait_until(self, address: str, *, reached: bool) -> None:
        """Wait until the last try at `address` (host:port), and the one before, have ended like that."""
        wait_until(
            lambda: self._tries(address)[-2:] == [reached] * 2,
            deadline=READY_DEADLINE,
            describe=lambda: f"{self.namespace} to {address}, reached: {self._tries(address)[-10:]}",
            interval=0.5,
        )

    def _tries(self, address: str) -> list[bool]:
        log = self.cluster.kubectl("logs", self.pod, f"--namespace={self.namespace}")
        tries = [json.loads(line) for line in log.splitlines()]
        return [attempt["reached"] for attempt in tries if attempt["address"] == address]


@contextmanager
def knocker(cluster: Cluster, namespace: str, *addresses: str, image: str) -> Iterator[Knocker]:
    """Try TCP connections from a pod in `namespace` for the time of the block.

    Args:
        cluster: where.
        namespace: of the pod.
        addresses: what it tries, each as host:port.
        image: the runtime's, for its Python.
    """
    pod = "knock"
    _mount(cluster, namespace, pod, {"knock.py": _KNOCK.read_text()})
    command = ["python", "/source/knock.py", *addresses]
    _start(cluster, namespace, pod, image=image, command=command, mount="/source")
    try:
        yield Knocker(cluster, namespace, pod)
    finally:
        cluster.api.delete(_pod(cluster, namespace, pod), gracePeriodSeconds="0")
        cluster.api.delete(cluster.api.path("v1", "ConfigMap", namespace=namespace, name=pod))


def fake_messages_api(cluster: Cluster, namespace: str, *, image: str) -> str:
    """Run the project's fake of the Messages API in the namespace; gives its address for models[].anthropic.baseURL.

    Args:
        cluster: where.
        namespace: where.
        image: the runtime's: what the fake imports is in it.
    """
    name, port = "fake-messages-api", 8089
    _mount(cluster, namespace, name, {file.name: file.read_text() for file in _FAKE.glob("*.py")})
    command = ["python", "-m", "dev.fake_messages_api", "--host=0.0.0.0", f"--port={port}"]
    _start(cluster, namespace, name, image=image, command=command, mount="/source/dev/fake_messages_api", port=port)
    spec = {"selector": {"test": name}, "ports": [{"port": port}]}
    metadata = {"name": name, "namespace": namespace}
    cluster.api.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    return f"http://{name}:{port}"


def _mount(cluster: Cluster, namespace: str, name: str, files: dict[str, str]) -> None:
    metadata = {"name": name, "namespace": namespace}
    cluster.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files})


def _start(
    cluster: Cluster,
    namespace: str,
    name: str,
    *,
    image: str,
    command: list[str],
    mount: str,
    env: Sequence[dict[str, Any]] = (),
    port: int | None = None,
    node: str | None = None,
) -> None:
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "command": command,
        "env": [{"name": "PYTHONPATH", "value": "/app:/source"}, *env],
        "securityContext": _RESTRICTED,
        "volumeMounts": [{"name": "source", "mountPath": mount}],
    }
    if port is not None:
        container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "source", "configMap": {"name": name}}],
    }
    if node is not None:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    metadata = {"name": name, "namespace": namespace, "labels": {"test": name}}
    account = cluster.api.path("v1", "ServiceAccount", namespace=namespace, name="default")
    wait_until(lambda: cluster.api.find(account), deadline=READY_DEADLINE, describe=f"{account} is not there")
    cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    ready = [f"pod/{name}", "--for=condition=Ready", f"--timeout={READY_DEADLINE:.0f}s"]
    cluster.kubectl("wait", *ready, f"--namespace={namespace}", timeout=READY_DEADLINE + 10)


def _pod(cluster: Cluster, namespace: str, name: str) -> str:
    return cluster.api.path("v1", "Pod", namespace=namespace, name=name)
