"""PostgreSQL and Redis in a test's namespace, with the Secrets in which AgentServices look for their addresses."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from dev.cluster import Cluster
from dev.kind import load_images
from dev.kind_session import Session
from dev.server_image import server_image
from tests.e2e.agents import READY_DEADLINE
from tests.e2e.pods import RESTRICTED
from tests.e2e.volumes import volume_for

DATABASE: dict[str, Any] = {
    "backend": "PostgreSQL",
    "postgreSQL": {"urlFrom": {"secretKeyRef": {"name": "database", "key": "url"}}},
}
"""spec.state for the PostgreSQL of the namespace."""
_ONCE_READY = {"periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 60}
"""Of a readiness probe: on a busy node, where a probe may take seconds, nobody loses a server that only is slow."""
_GROUP = 65532  # of the user in the image: a new volume belongs to root


@dataclass(frozen=True)
class Server:
    """A server in a pod of a StatefulSet, which makes it anew when it is gone.

    Args:
        cluster: where.
        namespace: where.
        name: of the StatefulSet and of the Service.
    """

    cluster: Cluster
    namespace: str
    name: str

    def stop(self) -> None:
        """End it, and return when it is gone; who was connected is cut."""
        self._scale(0)
        self.cluster.kubectl("wait", f"pod/{self.name}-0", "--for=delete", "--timeout=60s", *self._here)

    def start(self) -> None:
        """Let it run again, and wait until it answers."""
        self._scale(1)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it answers."""
        status = ["rollout", "status", f"statefulset/{self.name}", f"--timeout={READY_DEADLINE:.0f}s"]
        self.cluster.kubectl(*status, *self._here, timeout=READY_DEADLINE + 10)

    def _scale(self, replicas: int) -> None:
        self.cluster.kubectl("scale", f"statefulset/{self.name}", f"--replicas={replicas}", *self._here)

    @property
    def _here(self) -> list[str]:
        return [f"--namespace={self.namespace}"]


@contextmanager
def postgresql(session: Session, namespace: str) -> Iterator[Server]:
    """PostgreSQL on a volume; key `url` of the Secret `database` is the address of an empty database."""
    password = secrets.token_hex(8)
    address = f"postgresql://postgres:{password}@postgresql/postgres"
    _secret(session.cluster, namespace, "database", url=address, password=password)
    volumes: dict[str, Any] = {
        "volumes": [
            {
                "name": "password",
                "secret": {"secretName": "database", "items": [{"key": "password", "path": "password"}]},
            }
        ],
        # Looked at again in a later pod, the files would be given to the group, which PostgreSQL refuses.
        "securityContext": {"fsGroup": _GROUP, "fsGroupChangePolicy": "OnRootMismatch"},
    }
    container = {
        "command": ["start-postgresql"],
        "env": [
            {"name": "PGDATA", "value": "/data/postgresql"},
            {"name": "PASSWORD_FILE", "value": "/password/password"},
        ],
        "readinessProbe": {"exec": {"command": ["pg_isready", "--host=127.0.0.1"]}, **_ONCE_READY},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "password", "mountPath": "/password"}],
    }
    size = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
    claims = [{"metadata": {"name": "data"}, "spec": size}]
    with volume_for(session, namespace, "data-postgresql-0"):
        yield _serve(session, namespace, "postgresql", port=5432, container=container, pod=volumes, claims=claims)


def redis(session: Session, namespace: str) -> Server:
    """Redis, which forgets all when its pod goes; key `url` of the Secret `redis` is its address."""
    password = secrets.token_hex(8)
    _secret(session.cluster, namespace, "redis", url=f"redis://:{password}@redis:6379/0", password=password)
    container = {
        "command": ["redis-server", "--requirepass", "$(PASSWORD)", "--save", ""],
        "env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "password"}}}],
        "readinessProbe": {"tcpSocket": {"port": 6379}, **_ONCE_READY},
    }
    return _serve(session, namespace, "redis", port=6379, container=container)


def _secret(cluster: Cluster, namespace: str, name: str, **values: str) -> None:
    metadata = {"name": name, "namespace": namespace}
    cluster.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})


def _serve(
    session: Session,
    namespace: str,
    name: str,
    *,
    port: int,
    container: dict[str, Any],
    pod: dict[str, Any] | None = None,
    claims: list[dict[str, Any]] | None = None,
) -> Server:
    if session.engine is None:
        pytest.skip("the cluster of E2E_CONTEXT does not take images of ours, so it has neither PostgreSQL nor Redis")
    image = server_image(session.engine)
    load_images(session.engine, session.cluster, image)
    labels = {"test": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": image, "securityContext": RESTRICTED, **container}],
            **(pod or {}),
        },
    }
    metadata = {"name": name, "namespace": namespace}
    api = session.cluster.api
    service = {"selector": labels, "ports": [{"port": port}]}
    api.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})
    stateful = {
        "serviceName": name,
        "selector": {"matchLabels": labels},
        "template": template,
        "volumeClaimTemplates": claims or [],
    }
    api.create({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": stateful})
    server = Server(session.cluster, namespace, name)
    server.wait_ready()
    return server
