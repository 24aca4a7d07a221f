"""Metrics and probes, asked over a socket as Prometheus and the kubelet ask."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import aiohttp
import pytest
from agentservice_operator.metrics import Metrics
from agentservice_operator.telemetry import LIVENESS_LIMIT_SECONDS, Health, TelemetryServer
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.engine.clock import Clock


@dataclass
class Endpoint:
    """A running telemetry server and what it tells of."""

    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)
    port: int = 0

    def __post_init__(self) -> None:
        self.port = self.port or free_port()
        self.health = Health(self.clock)
        self.server = TelemetryServer(self.metrics, self.health, host="127.0.0.1", port=self.port)

    async def ask(self, path: str) -> tuple[int, str]:
        """Status and body."""
        timeout = aiohttp.ClientTimeout(total=10.0)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as answer,
        ):
            return answer.status, await answer.text()


def free_port() -> int:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    endpoint = Endpoint()
    endpoint.server.start()
    yield endpoint
    endpoint.server.stop()


async def test_a_loop_that_turns_is_live_and_one_that_does_not_is_not(endpoint: Endpoint) -> None:
    assert (await endpoint.ask("/healthz"))[0] == 200

    endpoint.clock.now += LIVENESS_LIMIT_SECONDS - 1.0
    assert (await endpoint.ask("/healthz"))[0] == 200

    endpoint.clock.now += 1.0
    assert (await endpoint.ask("/healthz"))[0] == 503


async def test_a_beat_of_the_main_loop_keeps_it_live(endpoint: Endpoint) -> None:
    endpoint.clock.now += LIVENESS_LIMIT_SECONDS
    beat = asyncio.create_task(endpoint.health.heartbeat())
    await asyncio.sleep(0)

    assert (await endpoint.ask("/healthz"))[0] == 200
    beat.cancel()


def test_the_probe_answers_while_the_main_loop_is_blocked(endpoint: Endpoint) -> None:
    """The very case that it is for; this test has no loop, so nothing of the answer can come from one."""
    endpoint.clock.now += LIVENESS_LIMIT_SECONDS

    with closing(socket.create_connection(("127.0.0.1", endpoint.port), timeout=10.0)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 503 " in connection.recv(1000).splitlines()[0]


async def test_readiness_waits_for_the_caches(endpoint: Endpoint) -> None:
    synced = False
    assert (await endpoint.ask("/readyz"))[0] == 503

    endpoint.health.ready_when(lambda: synced)
    assert (await endpoint.ask("/readyz"))[0] == 503

    synced = True
    assert (await endpoint.ask("/readyz"))[0] == 200


async def test_a_blocked_loop_is_not_ready(endpoint: Endpoint) -> None:
    endpoint.health.ready_when(lambda: True)
    endpoint.clock.now += LIVENESS_LIMIT_SECONDS

    assert (await endpoint.ask("/readyz"))[0] == 503


NAMES_OF_CONTROLLER_RUNTIME = {
    "workqueue_depth": {"name"},
    "workqueue_adds_total": {"name"},
    "workqueue_retries_total": {"name"},
    "workqueue_queue_duration_seconds_bucket": {"name", "le"},
    "workqueue_work_duration_seconds_bucket": {"name", "le"},
    "workqueue_unfinished_work_seconds": {"name"},
    "workqueue_longest_running_processor_seconds": {"name"},
    "controller_runtime_reconcile_total": {"controller", "result"},
    "controller_runtime_reconcile_errors_total": {"controller"},
    "controller_runtime_reconcile_time_seconds_bucket": {"controller", "le"},
    "controller_runtime_active_workers": {"controller"},
    "leader_election_master_status": {"name"},
}
"""Source: https://book.kubebuilder.io/reference/metrics-reference and pkg/internal/{metrics,controller/metrics}."""


async def test_metrics_have_the_names_and_labels_that_dashboards_for_operators_expect(endpoint: Endpoint) -> None:
    endpoint.metrics.reconciled("error", 0.1)
    status, page = await endpoint.ask("/metrics")
    assert status == 200
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]

    for name, labels in NAMES_OF_CONTROLLER_RUNTIME.items():
        found = [sample for sample in samples if sample.name == name]
        assert found, f"there is no {name}"
        assert set(found[0].labels) >= labels, name
        for label in labels - {"le", "result"}:
            assert found[0].labels[label] == "agentservice"


async def test_only_failures_count_as_errors(endpoint: Endpoint) -> None:
    for result in ("success", "requeue_after", "not_leader", "error"):
        endpoint.metrics.reconciled(result, 0.1)

    value = endpoint.metrics.registry.get_sample_value
    assert value("controller_runtime_reconcile_errors_total", {"controller": "agentservice"}) == 1.0
    assert value("controller_runtime_reconcile_time_seconds_count", {"controller": "agentservice"}) == 4.0


async def test_a_reason_that_no_agent_service_has_any_more_vanishes(endpoint: Endpoint) -> None:
    endpoint.metrics.count_services({"Available": 2, "Progressing": 1})
    endpoint.metrics.count_services({"Available": 3})

    value = endpoint.metrics.registry.get_sample_value
    assert value("agentservice_operator_agentservices", {"reason": "Available"}) == 3.0
    assert value("agentservice_operator_agentservices", {"reason": "Progressing"}) is None


def test_a_port_that_is_taken_is_an_error_at_the_start(endpoint: Endpoint) -> None:
    second = Endpoint(port=endpoint.port)

    with pytest.raises(OSError, match=str(endpoint.port)):
        second.server.start()
    second.server.stop()


def test_after_the_stop_nothing_listens() -> None:
    endpoint = Endpoint()
    endpoint.server.start()
    started = time.monotonic()

    endpoint.server.stop()

    assert time.monotonic() - started < 5.0, "the thread did not end by itself"
    with pytest.raises(ConnectionRefusedError), closing(socket.create_connection(("127.0.0.1", endpoint.port))):
        pass
