"""The real operator process under the RBAC of the chart, for one test: in its namespace, with a Lease of its own."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import time
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from dev.audit import AuditLog
from dev.process import Child, start, wait_until
from tests.controlplane.operator_rbac import SERVICE_ACCOUNT, install

if TYPE_CHECKING:
    from dev.audit import Request
    from dev.cluster import Cluster

ROOT = Path(__file__).parent.parent.parent
LEASE = "agentservice-operator"
RUNTIME_IMAGE = "example.invalid/agentservice-runtime:0"
START_DEADLINE = 60.0
"""Seconds until a started operator is ready; 2 on an idle machine."""
LEASE_EXPIRY = 30.0
"""Seconds in which a lease that nobody released is taken over; 20 are promised, the rest is for a busy machine."""


@dataclass(eq=False)
class OperatorProcess:
    """An operator that works in one namespace.

    Args:
        cluster: where it works.
        namespace: what it watches, where its Lease is and where its ServiceAccount lives.
        folder: for its log.
        name: what tells it from another replica.
    """

    cluster: Cluster
    namespace: str
    folder: Path
    name: str = "operator"
    _kubeconfig: Path | None = None
    _child: Child | None = None
    _port: int = 0
    _seen: int = field(init=False)

    def __post_init__(self) -> None:
        self._seen = self.audit.mark()

    @property
    def audit(self) -> AuditLog:
        """What was asked of the API server."""
        return AuditLog.of(self.cluster)

    @property
    def user(self) -> str:
        """As whom the API server knows it."""
        return f"system:serviceaccount:{self.namespace}:{SERVICE_ACCOUNT}"

    @property
    def child(self) -> Child:
        """The process."""
        if self._child is None:
            raise AssertionError(f"{self.name} was never started")
        return self._child

    def start(self, *, leading: bool = True, **environment: str) -> OperatorProcess:
        """Start it and wait until it is ready.

        Args:
            leading: wait also until it holds the Lease.
            environment: further environment variables.
        """
        if self._kubeconfig is None:
            install(self.cluster, self.namespace)
            self._kubeconfig = self.cluster.service_account_kubeconfig(self.namespace, SERVICE_ACCOUNT)
        self._port = _free_port()
        self._child = start(
            [sys.executable, "-m", "agentservice_operator"],
            name=self.name,
            log=self.folder / f"{self.name}.log",
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "operator"))),
                "KUBECONFIG": str(self._kubeconfig),
                "POD_NAME": self.name,
                "POD_NAMESPACE": self.namespace,
                "AGENTSERVICE_LEASE_NAME": LEASE,
                "AGENTSERVICE_LOG_LEVEL": "debug",
                "AGENTSERVICE_RUNTIME_IMAGE": RUNTIME_IMAGE,
                "AGENTSERVICE_TELEMETRY_HOST": "127.0.0.1",
                "AGENTSERVICE_TELEMETRY_PORT": str(self._port),
                "AGENTSERVICE_WATCH_NAMESPACES": self.namespace,
            }
            | environment,
        )
        self.wait(lambda: self.probe("/readyz") == http.client.OK, "ready", START_DEADLINE)
        if leading:
            self.wait(lambda: self.leads, "the leader", START_DEADLINE)
        return self

    def replica(self, name: str) -> OperatorProcess:
        """Another one, not started, beside this one: same ServiceAccount, same Lease."""
        other = replace(self, name=name)
        other._child = None
        return other

    def stop(self) -> int:
        """Ask it to end, as a kubelet does, and return its exit code."""
        return self.child.stop(grace=30)

    def kill(self) -> None:
        """End it as a crash does; the Lease stays held until it expires."""
        self.child.kill()

    def restart(self) -> OperatorProcess:
        """Stop it, which releases the Lease, and start it again."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """End it, in whatever state it is."""
        if self._child is not None and self._child.exit_code is None:
            self._child.process.send_signal(signal.SIGCONT)
            self._child.kill()

    @property
    def leads(self) -> bool:
        """Whether it holds the Lease, in its own view."""
        return self.metric("leader_election_master_status") == 1

    def wait_for_lead(self) -> None:
        """Wait until it holds the Lease although nobody released it."""
        self.wait(lambda: self.leads, "the leader", LEASE_EXPIRY)

    def probe(self, path: str) -> int | None:
        """The status code at `path` of its telemetry port, None where nothing answers."""
        try:
            return self._get(path)[0]
        except OSError:
            return None

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, summed over the labels, by name."""
        samples: dict[str, float] = {}
        for family in text_string_to_metric_families(self._get("/metrics")[1]):
            for sample in family.samples:
                samples[sample.name] = samples.get(sample.name, 0.0) + sample.value
        return samples

    def metric(self, name: str) -> float:
        """One of `metrics`; 0 where there is none of that name."""
        return self.metrics().get(name, 0.0)

    def writes(self, *, since: int | None = None, until: int | None = None) -> list[Request]:
        """What it wrote between two marks of the audit log, Leases and Events apart; default: since it was made."""
        begin = self._seen if since is None else since
        end = self.audit.mark() if until is None else until
        found = self.audit.writes(user=self.user, since=begin, until=end)
        return [request for request in found if request.resource not in {"leases", "events"}]

    def requests(self, *, since: int) -> list[Request]:
        """Everything it asked for since a mark."""
        return self.audit.requests(user=self.user, since=since, until=self.audit.mark())

    def wait(self, predicate: object, what: str, deadline: float) -> None:
        """Wait for `predicate`, which must be callable, as long as the process runs."""

        def check() -> object:
            self.child.require_running()
            assert callable(predicate)
            return predicate()

        wait_until(
            check, deadline=deadline, describe=lambda: f"{self.name} is {what}; its log:\n{self.child.log_tail(30)}"
        )

    def _get(self, path: str) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()


def said(writes: list[Request]) -> list[str]:
    """Writes as people read them: ``patch agentservices/status hello 200``."""
    return [
        f"{write.verb} {write.resource}{'/' if write.subresource else ''}{write.subresource} {write.name} {write.code}"
        for write in writes
    ]


def passes(seconds: float) -> None:
    """Let time pass in which nothing must happen: the one wait that no event can end."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, deadline=seconds + 60, interval=0.5)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
