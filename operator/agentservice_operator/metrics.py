"""The operator's metrics, in controller-runtime's names where it has one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

CONTROLLER = "agentservice"
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


disable_created_metrics()  # type: ignore[no-untyped-call]  # not typed; two of three lines of /metrics would be their times


class QueueMetrics:
    """The workqueue_* metrics of client-go and controller-runtime."""

    def __init__(self, registry: CollectorRegistry) -> None:
        name = ["name"]
        self._depth = Gauge("workqueue_depth", "Keys that wait for a worker.", name, registry=registry).labels(
            CONTROLLER
        )
        self._adds = Counter("workqueue_adds", "Adds to the queue.", name, registry=registry).labels(CONTROLLER)
        self._retries = Counter("workqueue_retries", "Adds after a failure.", name, registry=registry).labels(
            CONTROLLER
        )
        self._queue_seconds = Histogram(
            "workqueue_queue_duration_seconds",
            "Time between the add of a key and its work.",
            ["name"],
            buckets=_SECONDS,
            registry=registry,
        ).labels(CONTROLLER)
        self._work_seconds = Histogram(
            "workqueue_work_duration_seconds",
            "Time of the work on a key.",
            ["name"],
            buckets=_SECONDS,
            registry=registry,
        ).labels(CONTROLLER)

        self._unfinished = Gauge(
            "workqueue_unfinished_work_seconds", "Time of the works that go on, in sum.", name, registry=registry
        ).labels(CONTROLLER)
        self._longest = Gauge(
            "workqueue_longest_running_processor_seconds",
            "Time of the longest work that goes on.",
            name,
            registry=registry,
        ).labels(CONTROLLER)

    def watch_work(self, ages: Callable[[], list[float]]) -> None:
        """Report on works that go on.

        Args:
            ages: How long each has gone on, in seconds; called on the thread that serves the metrics.
        """
        self._unfinished.set_function(lambda: sum(ages()))
        self._longest.set_function(lambda: max(ages(), default=0.0))

    def added(self, depth: int) -> None:
        """A key was added."""
        self._adds.inc()
        self._depth.set(depth)

    def taken(self, depth: int, waited_seconds: float) -> None:
        """A worker took a key."""
        self._queue_seconds.observe(waited_seconds)
        self._depth.set(depth)

    def done(self, worked_seconds: float) -> None:
        """A worker is done with a key."""
        self._work_seconds.observe(worked_seconds)

    def retried(self) -> None:
        """A key failed and will be tried again."""
        self._retries.inc()


class Metrics:
    """All metrics of the operator on one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.queue = QueueMetrics(self.registry)
        self._reconciles = Counter(
            "controller_runtime_reconcile", "Reconciles by result.", ["controller", "result"], registry=self.registry
        )
        self._reconcile_errors = Counter(
            "controller_runtime_reconcile_errors", "Reconciles that failed.", ["controller"], registry=self.registry
        ).labels(CONTROLLER)
        self._reconcile_seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "Time of a reconcile.",
            ["controller"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.active_workers = Gauge(
            "controller_runtime_active_workers", "Workers in a reconcile.", ["controller"], registry=self.registry
        ).labels(CONTROLLER)
        self._applies = Counter(
            "agentservice_operator_applies",
            "Children looked at, by what was done.",
            ["kind", "result"],
            registry=self.registry,
        )
        self._occurrences = Counter(
            "agentservice_operator_events",
            "What happened to AgentServices; alike ones are written as one Event.",
            ["type", "reason"],
            registry=self.registry,
        )
        self._requests = Counter(
            "rest_client_requests", "Requests to the API server.", ["verb", "kind", "code"], registry=self.registry
        )
        self.leader = Gauge(
            "leader_election_master_status", "1 on the replica that writes.", ["name"], registry=self.registry
        ).labels(CONTROLLER)
        self._services = Gauge(
            "agentservice_operator_agentservices",
            "AgentServices by the Ready condition's reason.",
            ["reason"],
            registry=self.registry,
        )
        self._inquiries = Counter(
            "agentservice_operator_inquiries",
            "Pods that were asked for their state, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self._reasons: set[str] = set()
        self._upgrades = Gauge(
            "agentservice_operator_upgrades_pending",
            "AgentServices that a changed default or release will roll out, by where they stand.",
            ["reason"],
            registry=self.registry,
        )
        self._reflector_age = Gauge(
            "agentservice_operator_reflector_age_seconds",
            "Time since a watch was last heard of.",
            ["kind"],
            registry=self.registry,
        )

    def reconciled(self, result: str, seconds: float) -> None:
        """A reconcile ended: ``success``, ``requeue_after`` or ``error``."""
        self._reconciles.labels(CONTROLLER, result).inc()
        self._reconcile_seconds.labels(CONTROLLER).observe(seconds)
        if result == "error":
            self._reconcile_errors.inc()

    def applied(self, kind: str, result: str) -> None:
        """A child was looked at: ``applied``, ``skipped``, ``conflict``, ``deleted`` ..."""
        self._applies.labels(kind, result).inc()

    def occurred(self, kind: str, reason: str) -> None:
        """Something happened that an Event tells of: ``Normal`` or ``Warning``, and why."""
        self._occurrences.labels(kind, reason).inc()

    def requested(self, verb: str, kind: str, status: str) -> None:
        """A request to the API server was answered, or failed without an answer (``<error>``)."""
        self._requests.labels(verb, kind, status).inc()

    def inquired(self, outcome: str) -> None:
        """A pod was asked how it does: ``answered``, ``no_answer`` or ``not_understood``."""
        self._inquiries.labels(outcome).inc()

    def count_services(self, by_reason: Mapping[str, int]) -> None:
        """Set the number of AgentServices per reason of their Ready condition."""
        # Not all are cleared: a scrape on the other thread would find none of them.
        for reason in self._reasons - by_reason.keys():
            self._services.remove(reason)
        for reason, count in by_reason.items():
            self._services.labels(reason).set(count)
        self._reasons = set(by_reason)

    def count_upgrades(self, by_reason: Mapping[str, int]) -> None:
        """Set the number of AgentServices per reason of a pending upgrade; always of the same reasons."""
        for reason, count in by_reason.items():
            self._upgrades.labels(reason).set(count)

    def watch_reflector(self, kind: str, age: Callable[[], float]) -> None:
        """Report the age of a reflector's last sign of life."""
        self._reflector_age.labels(kind).set_function(age)
