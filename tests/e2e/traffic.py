"""What runs beside the agents in a test's namespace: callers at a steady pace, a provider that is not the real one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from dev.agent_client import reached
from dev.cluster import Cluster
from dev.images import REPOSITORY
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import READY_DEADLINE
from tests.e2e.pods import key_of, pod, serve_pod

_LOAD = Path(__file__).parent / "in_cluster" / "load.py"
_KNOCK = Path(__file__).parent / "in_cluster" / "knock.py"
_FAKE = REPOSITORY / "dev" / "fake_messages_api"
FAKE = "fake-messages-api"
FAKE_PORT = 8089
"""Name and port of the fake's Service."""


@dataclass(frozen=True)
class Load:
    """Callers that are at work."""

    cluster: Cluster
    namespace: str
    pod: str

    def outcomes(self, kind: str = "") -> Counter[str]:
        """How many calls, of one kind or of any, have ended how; "200" is an answer."""
        return Counter(call["outcome"] for call in self.calls() if kind in ("", call["kind"]))

    def lost(self) -> list[dict[str, Any]]:
        """The calls so far that were not answered; only as long as they go on can they be asked for."""
        return [call for call in self.calls() if call["outcome"] != "200"]

    def calls(self) -> list[dict[str, Any]]:
        """Every call so far."""
        log = self.cluster.kubectl("logs", self.pod, f"--namespace={self.namespace}")
        return [json.loads(line) for line in log.splitlines()]

    def wait_for_answers(self, count: int, *, kind: str = "") -> None:
        """Wait until so many more calls than now, of one kind or of any, have been answered."""
        before = self.outcomes(kind)["200"]
        wait_until(
            lambda: self.outcomes(kind)["200"] >= before + count,
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
    kinds: Sequence[str] = ("chat",),
    callers: int = 4,
    pace: float = 5,
    pod_name: str = "load",
    node: str | None = None,
) -> Iterator[Load]:
    """Call an agent from inside the cluster, through its Service, for the time of the block.

    Args:
        cluster: where.
        namespace: that of the AgentService.
        name: the AgentService.
        image: the runtime's, for its Python.
        kinds: of calls; see KINDS of the program.
        callers: how many of each kind call side by side.
        pace: requests per second of each.
        pod_name: that of the pod that calls.
        node: where it runs; None: anywhere.
    """
    service = cluster.api.get(cluster.api.path("v1", "Service", namespace=namespace, name=name))
    port = service["spec"]["ports"][0]["port"]
    command = ["python", "/source/load.py", f"http://{name}:{port}", f"--kinds={','.join(kinds)}"]
    command += [f"--callers={callers}", f"--pace={pace:g}"]
    files = {"load.py": _LOAD.read_text()}
    with pod(cluster, namespace, pod_name, image=image, files=files, command=command, env=[key_of(name)], node=node):
        yield Load(cluster, namespace, pod_name)


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
    name = "knock"
    command = ["python", "/source/knock.py", *addresses]
    with pod(cluster, namespace, name, image=image, files={"knock.py": _KNOCK.read_text()}, command=command):
        yield Knocker(cluster, namespace, name)


def fake_messages_api(cluster: Cluster, namespace: str, *, image: str) -> str:
    """Run the project's fake of the Messages API in the namespace; gives its address for models[].anthropic.baseURL.

    Args:
        cluster: where.
        namespace: where.
        image: the runtime's: what the fake imports is in it.
    """
    files = {file.name: file.read_text() for file in _FAKE.glob("*.py")}
    command = ["python", "-m", "dev.fake_messages_api", "--host=0.0.0.0", f"--port={FAKE_PORT}"]
    mount = "/source/dev/fake_messages_api"
    how = {"image": image, "files": files, "command": command, "mount": mount}
    return serve_pod(cluster, namespace, FAKE, port=FAKE_PORT, **how)


def models_of(services: AgentServices, url: str) -> list[dict[str, Any]]:
    """spec.models for a fake at that address, with the Secret that they name."""
    services.make_secret("provider", **{"api-key": "fake-key-of-a-test"})
    credentials = {"secretKeyRef": {"name": "provider", "key": "api-key"}}
    anthropic = {"model": "claude-fake", "baseURL": url, "credentials": credentials}
    return [{"name": "main", "provider": "Anthropic", "anthropic": anthropic}]


def direct(cluster: Cluster, namespace: str, *scripts: dict[str, Any]) -> None:
    """Tell the fake of a namespace how to answer its next requests."""
    with reached(cluster, namespace, FAKE, port=FAKE_PORT) as url:
        httpx2.post(f"{url}/_script", json=scripts, trust_env=False).raise_for_status()


def asked(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """What the fake of a namespace was asked so far."""
    with reached(cluster, namespace, FAKE, port=FAKE_PORT) as url:
        requests: list[dict[str, Any]] = httpx2.get(f"{url}/_requests", trust_env=False).json()
        return requests
