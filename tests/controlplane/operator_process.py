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

from agentservice_operator.engine.report import COUNTS_EVERY_SECONDS
from prometheus_client.parser import text_string_to_metric_families

from dev.audit import AuditLog
from dev.process import Child, start, wait_until
from tests.controlplane.operator_rbac import LEASE, SERVICE_ACCOUNT, install

if TYPE_CHECKING:
    from collections.abc import Callable

    from dev.audit import Request
    from dev.cluster import Cluster

ROOT = Path(__file__).parent.parent.parent
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
        clusterwide: whether it watches all namespaces instead.
    """

    cluster: Cluster
    namespace: str
    folder: Path
    name: str = "operator"
    clusterwide: bool = False
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

    def start(self, *, leading: bool = True) -> OperatorProcess:
        """Start it and wait until it is ready; where it is to be the leader, until it holds the Lease."""
        self.spawn()
        self.wait_for(lambda: self.probe("/readyz") == http.client.OK, "it to be ready", START_DEADLINE)
        if leading:
            self.wait_for(lambda: self.leads, "it to lead", START_DEADLINE)
        return self

    def spawn(self) -> None:
        """Start it and wait for nothing."""
        if self._kubeconfig is None:
            install(self.cluster, self.namespace, clusterwide=self.clusterwide)
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
                "AGENTSERVICE_WATCH_NAMESPACES": "" if self.clusterwide else self.namespace,
            },
        )

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
        self.wait_for(lambda: self.leads, "it to lead", LEASE_EXPIRY)

    def probe(self, path: str) -> int | None:
        """The status code at `path` of its telemetry port, None where nothing answers."""
        try:
            return self._get(path)[0]
        except OSError:
            return None

    def samples(self, name: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of each sample of that name on /metrics."""
        families = text_string_to_metric_families(self._get("/metrics")[1])
        return [(s.labels, s.value) for family in families for s in family.samples if s.name == name]

    def metric_names(self) -> set[str]:
        """The names of all samples on /metrics."""
        families = text_string_to_metric_families(self._get("/metrics")[1])
        return {sample.name for family in families for sample in family.samples}

    def metric(self, name: str) -> float:
        """The sum of all samples of that name."""
        return sum(value for _, value in self.samples(name))

    def writes(self, *, since: int | None = None, until: int | None = None) -> list[Request]:
        """What it wrote between two marks of the audit log, Leases and Events apart; default: since it was made."""
        begin = self._seen if since is None else since
        end = self.audit.mark() if until is None else until
        found = self.audit.writes(user=self.user, since=begin, until=end)
        return [request for request in found if request.resource not in {"leases", "events"}]

    def requests(self, *, since: int) -> list[Request]:
        """Everything it asked for since a mark."""
        return self.audit.requests(user=self.user, since=since, until=self.audit.mark())

    def wait_for(self, predicate: Callable[[], object], what: str, deadline: float) -> None:
        """Wait for `predicate` as long as the process runs; seconds."""

        def check() -> object:
            self.child.require_running()
            return predicate()

        wait_until(check, deadline=deadline, describe=lambda: f"{what}; {self.name} said\n{self.child.log_tail(30)}")

    def settle(self) -> None:
        """Wait until it has written nothing for longer than it holds counts back."""
        quiet_since, seen = time.monotonic(), len(self.writes())

        def quiet() -> bool:
            nonlocal quiet_since, seen
            if (now := len(self.writes())) != seen:
                quiet_since, seen = time.monotonic(), now
            return time.monotonic() - quiet_since > COUNTS_EVERY_SECONDS + 1

        wait_until(quiet, deadline=60, describe=lambda: said(self.writes()[-10:]), interval=1)

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
