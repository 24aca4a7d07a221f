"""What probes and dashboards read off the operator."""

from __future__ import annotations

import http.client
import signal

from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices
from tests.controlplane.operator_process import OperatorProcess

OK = http.client.OK
NAMES = {
    "agentservice_operator_agentservices",
    "agentservice_operator_applies_total",
    "agentservice_operator_events_total",
    "agentservice_operator_reflector_age_seconds",
    "controller_runtime_active_workers",
    "controller_runtime_reconcile_errors_total",
    "controller_runtime_reconcile_time_seconds_bucket",
    "controller_runtime_reconcile_total",
    "leader_election_master_status",
    "process_resident_memory_bytes",
    "rest_client_requests_total",
    "workqueue_adds_total",
    "workqueue_depth",
    "workqueue_queue_duration_seconds_bucket",
    "workqueue_retries_total",
    "workqueue_work_duration_seconds_bucket",
}


def test_dashboards_find_the_metrics_that_they_know(own_operator: OperatorProcess, own_services: AgentServices) -> None:
    operator, services = own_operator.start(), own_services
    services.apply()
    services.wait_ready()

    wait_until(
        lambda: operator.metric("agentservice_operator_agentservices") == 1,
        deadline=DEADLINE,
        describe=operator.child.log_tail,
    )

    assert operator.metric_names() >= NAMES, NAMES - operator.metric_names()
    assert operator.metric("controller_runtime_reconcile_errors_total") == 0
    assert operator.metric("controller_runtime_reconcile_total") > 0
    assert operator.metric("agentservice_operator_applies_total") >= 5


def test_writes_are_counted_as_the_api_server_counts_them(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    operator, services = own_operator.start(), own_services
    services.apply()
    services.wait_ready()
    operator.settle()

    counted = {
        labels["kind"]: value
        for labels, value in operator.samples("rest_client_requests_total")
        if labels["verb"] == "apply"
    }

    assert sum(counted.values()) == len([w for w in operator.writes() if w.verb == "patch" and not w.subresource])


def test_probes_answer_on_the_leader_and_on_the_standby(own_operator: OperatorProcess) -> None:
    operator = own_operator.start()
    standby = operator.replica("standby")
    try:
        standby.start(leading=False)

        for process in (operator, standby):
            assert process.probe("/healthz") == OK
            assert process.probe("/readyz") == OK
        assert not standby.leads
    finally:
        standby.close()


def test_an_operator_that_is_told_to_end_ends_well(own_operator: OperatorProcess, own_services: AgentServices) -> None:
    operator, services = own_operator.start(), own_services
    services.apply()
    services.wait_ready()

    operator.child.process.send_signal(signal.SIGTERM)

    code = wait_until(lambda: operator.child.exit_code is not None, deadline=10, describe=operator.child.log_tail)
    assert code
    assert operator.child.exit_code == 0
    assert "Traceback" not in operator.child.log.read_text()
