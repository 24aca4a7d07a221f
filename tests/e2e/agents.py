"""Agents as their callers and their namespace's owner see them: files to apply, keys, ways to the Service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from dev.agent_client import api_key, reached
from dev.cluster import Cluster
from dev.images import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
READY_DEADLINE = 120.0
"""Seconds until an agent is Ready; 5 on an idle machine."""
SMALL: dict[str, Any] = {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}}
"""spec.runtime for a node that many tests share."""


def apply_file(cluster: Cluster, namespace: str, file: Path) -> list[str]:
    """Apply a file as a person would, with no warning from the API server; the AgentServices in it by name."""
    names = cluster.kubectl(
        "apply", "--warnings-as-errors", f"--namespace={namespace}", f"--filename={file}", "--output=name"
    )
    return [name.partition("/")[2] for name in names.split() if name.startswith("agentservice.")]


def wait_ready(cluster: Cluster, namespace: str, name: str) -> str:
    """Wait with kubectl until an AgentService is Ready; what kubectl says then."""
    options = ["--for=condition=Ready", f"--timeout={READY_DEADLINE:.0f}s", f"--namespace={namespace}"]
    return cluster.kubectl("wait", f"agentservice/{name}", *options, timeout=READY_DEADLINE + 10)


@contextmanager
def caller(cluster: Cluster, namespace: str, name: str) -> Iterator[httpx2.Client]:
    """A client of the Service of an AgentService, with its key."""
    headers = {"X-API-Key": api_key(cluster, namespace, name)}
    service = cluster.api.get(cluster.api.path("v1", "Service", namespace=namespace, name=name))
    port: int = service["spec"]["ports"][0]["port"]
    with (
        reached(cluster, namespace, name, port=port) as url,
        # The way leads to this machine: a proxy that the environment names must not be asked.
        httpx2.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client,
    ):
        yield client


def contents(cluster: Cluster, namespace: str) -> set[str]:
    """Everything in a namespace by kind and name, whatever its kind; without events and measurements."""
    kinds = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
    passing = ("events", "events.events.k8s.io", "pods.metrics.k8s.io")
    wanted = ",".join(kind for kind in kinds if kind not in passing)
    return set(cluster.kubectl("get", wanted, f"--namespace={namespace}", "--output=name").split())


def events_of(body: str) -> list[dict[str, Any]]:
    """The data of a stream of server-sent events."""
    return [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: ")]
