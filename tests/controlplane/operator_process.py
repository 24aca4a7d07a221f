"""The real operator process, in namespaces of its own, with a Lease of its own, under the RBAC of the chart."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agentservice_operator.engine.report import COUNTS_EVERY_SECONDS
from prometheus_client.parser import text_string_to_metric_families

from dev.audit import AuditLog, Request
from dev.cluster import Cluster
from dev.process import Child, start, wait_until
from tests.controlplane.operator_rbac import LEASE, SERVICE_ACCOUNT, install

ROOT = Path(__file__).parent.parent.parent
RUNTIME_IMAGE = "example.invalid/agentservice-runtime:0"
START_DEADLINE = 60.0
"""Seconds until a started operator is ready; 2 on an idle machine."""
POOLED = 12
"""Namespaces of a pooled operator, each for one test."""
QUIET = 2.0
"""Seconds without a write of anybody after which none follows from the last one; 0.1 on an idle machine."""
LEASE_EXPIRY = 30.0
"""Seconds in which a lease that nobody released is taken over; 20 are promised, the rest is for a busy machine."""


@dataclass(frozen=True)
class _Process:
    child: Child
    port: int


@dataclass(eq=False)
class OperatorProcess:
    """An operator, seen from one namespace.

    Args:
        cluster: where it works.
        namespace: where we look at it: its writes are counted there. None: everywhere.
        home: where its Lease is and its ServiceAccount lives.
        watched: the namespaces that it watches; none: all of the cluster.
        folder: for its log.
        name: what tells it from another replica.
        settings: further variables, such as AGENTSERVICE_RUNTIME_IMAGE, over those of every test.
    """

    cluster: Cluster
    namespace: str | None
    home: str
    watched: tuple[str, ...]
    folder: Path
    name: str = "operator"
    settings: dict[str, str] = field(default_factory=dict)
    _process: _Process | None = None
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
        return f"system:serviceaccount:{self.home}:{SERVICE_ACCOUNT}"

    @property
    def child(self) -> Child:
        """The process."""
        return self._running.child

    @property
    def _running(self) -> _Process:
        if self._process is None:
            raise AssertionError(f"{self.name} was never started")
        return self._process

    def start(self, *, leading: bool = True) -> OperatorProcess:
        """Start it and wait until it is ready; where it is to be the leader, until it holds the Lease."""
        self.spawn()
        self.wait_for(lambda: self.probe("/readyz") == http.client.OK, "it to be ready", START_DEADLINE)
        if leading:
            self.wait_for(lambda: self.leads, "it to lead", START_DEADLINE)
        return self

    def spawn(self) -> None:
        """Start it and wait for nothing."""
        if self._process is None:
            install(self.cluster, self.home, self.watched)
        port = _free_port()
        child = start(
            [sys.executable, "-m", "agentservice_operator"],
            name=self.name,
            log=self.folder / f"{self.name}.log",
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "operator"))),
                "KUBECONFIG": str(self.cluster.service_account_kubeconfig(self.home, SERVICE_ACCOUNT)),
                "POD_NAME": self.name,
                "POD_NAMESPACE": self.home,
                "AGENTSERVICE_LEASE_NAME": LEASE,
                "AGENTSERVICE_LOG_LEVEL": "debug",
                "AGENTSERVICE_INQUIRY_SECONDS": "5",
                "AGENTSERVICE_RUNTIME_IMAGE": RUNTIME_IMAGE,
                "AGENTSERVICE_TELEMETRY_HOST": "127.0.0.1",
                "AGENTSERVICE_TELEMETRY_PORT": str(port),
                "AGENTSERVICE_WATCH_NAMESPACES": ",".join(self.watched),
            }
            | self.settings,
        )
        self._process = _Process(child, port)

    def seen_from(self, namespace: str) -> OperatorProcess:
        """The same process, seen from one of its namespaces from now on."""
        return replace(self, namespace=namespace)

    def replica(self, name: str, **settings: str) -> OperatorProcess:
        """Another one, not started, beside this one: same ServiceAccount, same Lease, perhaps other settings."""
        return replace(self, name=name, settings={**self.settings, **settings}, _process=None)

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
        if self._process is not None and self.child.exit_code is None:
            self.child.process.send_signal(signal.SIGCONT)
            self.child.kill()

    def log_here(self, lines: int = 60) -> str:
        """The last lines of its log that are about the namespace from which we look."""
        if self._process is None:
            return f"{self.name} was never started"
        text = self.child.log.read_text(errors="replace")
        return "\n".join([line for line in text.splitlines() if (self.namespace or "") in line][-lines:])

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

    def metrics_text(self) -> str:
        """All of /metrics."""
        return self._get("/metrics")[1]

    def metric_names(self) -> set[str]:
        """The names of all samples on /metrics."""
        families = text_string_to_metric_families(self._get("/metrics")[1])
        return {sample.name for family in families for sample in family.samples}

    def metric(self, name: str) -> float:
        """The sum of all samples of that name."""
        return sum(value for _, value in self.samples(name))

    def writes(self, *, since: int | None = None, until: int | None = None) -> list[Request]:
        """What it wrote here between two marks of the audit log, Leases and Events apart; default: since we look."""
        begin = self._seen if since is None else since
        end = self.audit.mark() if until is None else until
        found = self.audit.writes(user=self.user, since=begin, until=end)
        return [request for request in found if self._is_here(request) and request.resource not in {"leases", "events"}]

    def first_write(self, matches: Callable[[Request], bool], *, since: int) -> Request:
        """The first write here since a mark that matches; waits for its line, which the server may write late."""
        return wait_until(
            lambda: next((write for write in self.writes(since=since) if matches(write)), None),
            deadline=10,
            describe=lambda: said(self.writes(since=since)),
        )

    def requests(self, *, since: int | None = None) -> list[Request]:
        """Everything that it asked for here since a mark; default: since we look."""
        found = self.audit.requests(
            user=self.user, since=self._seen if since is None else since, until=self.audit.mark()
        )
        return [request for request in found if self._is_here(request)]

    def _is_here(self, request: Request) -> bool:
        return self.namespace in {None, request.namespace}

    def wait_for(self, predicate: Callable[[], object], what: str, deadline: float) -> None:
        """Wait for `predicate` as long as the process runs; seconds."""

        def check() -> object:
            self.child.require_running()
            return predicate()

        wait_until(check, deadline=deadline, describe=lambda: f"{what}; {self.name} said\n{self.child.log_tail(30)}")

    def settle(self) -> None:
        """Wait until all is quiet here: nobody writes any more, and the operator plans nothing that was held back.

        Where it does plan something soon, again and again, it has to write nothing for longer than it holds counts
        back. Quiet is what the audit log shows of everybody, so that a pod on its way counts as noise, too.
        """
        seen, quiet_since, silent_since = self.audit.mark(), time.monotonic(), time.monotonic()

        def settled() -> bool:
            nonlocal seen, quiet_since, silent_since
            since, seen, now = seen, self.audit.mark(), time.monotonic()
            writes = self.audit.writes(namespace=self.namespace, since=since, until=seen)
            if any(write.resource not in {"leases", "events"} for write in writes):
                quiet_since = now
            if self.writes(since=since, until=seen):
                silent_since = now
            if now - silent_since > COUNTS_EVERY_SECONDS + 1:
                return True
            return now - quiet_since > QUIET and not self._has_plans(COUNTS_EVERY_SECONDS + 1)

        wait_until(settled, deadline=60, describe=lambda: said(self.writes()[-10:]), interval=0.2)

    def _has_plans(self, seconds: float) -> bool:
        """Whether it works on anything, or will look at an AgentService of here within so many seconds."""
        if self.metric("workqueue_depth") or self.metric("controller_runtime_active_workers"):
            return True
        latest = {line["name"]: line["again_seconds"] for line in self._reconciles()}
        return any(again is not None and again <= seconds for again in latest.values())

    def _reconciles(self) -> Iterator[dict[str, Any]]:
        """What its log says of each of its reconciles here, oldest first."""
        for text in self.child.log.read_bytes().splitlines():
            if b'"event":"reconciled"' in text:
                line = json.loads(text)
                if self.namespace in {None, line["namespace"]}:
                    yield line

    def _get(self, path: str) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", self._running.port, timeout=5)) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()


@dataclass(eq=False)
class OperatorPool:
    """Lends a running operator to one test after the other, each with a namespace that no other had.

    To start one costs more than most tests do. Tests that stop it, or look at what the whole process does, have one of
    their own.

    Args:
        cluster: where.
        folder: for logs.
    """

    cluster: Cluster
    folder: Path
    _operator: OperatorProcess | None = None
    _free: list[str] = field(default_factory=list)

    def take(self) -> OperatorProcess:
        """A running operator, seen from a fresh namespace that it watches."""
        if self._operator is None or not self._free or self._operator.child.exit_code is not None:
            self.close()
            self._free = [make_namespace(self.cluster, "pooled") for _ in range(POOLED)]
            home = self._free[0]
            self._operator = OperatorProcess(self.cluster, None, home, tuple(self._free), self.folder, name=home)
            self._operator.start()
        return self._operator.seen_from(self._free.pop())

    def close(self) -> None:
        """End the operator and delete its namespaces."""
        if self._operator is not None:
            self._operator.close()
            for namespace in self._operator.watched:
                delete_namespace(self.cluster, namespace)


def make_namespace(cluster: Cluster, purpose: str) -> str:
    """Make a namespace and return its name."""
    name = f"{purpose}-{secrets.token_hex(4)}"
    cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def delete_namespace(cluster: Cluster, name: str) -> None:
    """Delete a namespace without waiting for its end."""
    cluster.api.delete(f"/api/v1/namespaces/{name}")


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
