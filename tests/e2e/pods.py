"""Pods of a test: the runtime's image, which has Python, with a program of ours mounted into it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dev.cluster import Cluster
from dev.process import wait_until
from tests.e2e.agents import READY_DEADLINE

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""What a container must say of itself in the namespaces of tests."""


def start_pod(
    cluster: Cluster,
    namespace: str,
    name: str,
    *,
    image: str,
    files: Mapping[str, str],
    command: Sequence[str],
    mount: str = "/source",
    env: Sequence[dict[str, Any]] = (),
    port: int | None = None,
    node: str | None = None,
) -> None:
    """Start a pod that runs a program, and wait until it is ready.

    Args:
        cluster: where.
        namespace: where.
        name: of the pod, of its ConfigMap, and the value of its label `test`.
        image: the runtime's.
        files: the program's, by their names.
        command: that runs it.
        mount: folder of the files; what is in or below /source can be imported.
        env: further variables.
        port: where it listens; it is ready when somebody does.
        node: where it runs; None: anywhere.
    """
    metadata = {"name": name, "namespace": namespace}
    cluster.api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(files)})
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "command": list(command),
        "env": [{"name": "PYTHONPATH", "value": "/app:/source"}, *env],
        "securityContext": RESTRICTED,
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
    account = cluster.api.path("v1", "ServiceAccount", namespace=namespace, name="default")
    wait_until(lambda: cluster.api.find(account), deadline=READY_DEADLINE, describe=f"{account} is not there")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "labels": {"test": name}}, "spec": spec}
    cluster.api.create(pod)
    ready = [f"pod/{name}", "--for=condition=Ready", f"--timeout={READY_DEADLINE:.0f}s"]
    cluster.kubectl("wait", *ready, f"--namespace={namespace}", timeout=READY_DEADLINE + 10)


@contextmanager
def pod(cluster: Cluster, namespace: str, name: str, **how: Any) -> Iterator[None]:
    """A pod as `start_pod` starts it, for the time of the block; another of its name may follow."""
    start_pod(cluster, namespace, name, **how)
    try:
        yield
    finally:
        for version, kind in (("v1", "Pod"), ("v1", "ConfigMap")):
            path = cluster.api.path(version, kind, namespace=namespace, name=name)
            cluster.api.delete(path, **({"gracePeriodSeconds": "0"} if kind == "Pod" else {}))


def serve_pod(cluster: Cluster, namespace: str, name: str, *, port: int, **how: Any) -> str:
    """A pod as `start_pod` starts it, behind a Service of its name; gives the Service's address."""
    start_pod(cluster, namespace, name, port=port, **how)
    metadata = {"name": name, "namespace": namespace}
    spec = {"selector": {"test": name}, "ports": [{"port": port}]}
    cluster.api.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})
    return f"http://{name}:{port}"


def key_of(service: str) -> dict[str, Any]:
    """The variable API_KEY with the key of an AgentService."""
    return {"name": "API_KEY", "valueFrom": {"secretKeyRef": {"name": f"{service}-api-keys", "key": "default"}}}
