"""An error of its author leaves running pods alone, is told with its reason, and leaves no trace once it is mended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import (
    AgentServices,
    Object,
    agent_service,
    condition,
    conditions,
    is_ready,
    verdict,
)
from tests.controlplane.error_states import ErrorState, error_states
from tests.controlplane.operator_process import OperatorProcess
from tests.controlplane.service_state import Snapshot
from tests.controlplane.walk_batch import make_references
from tests.unit.transitions.leaves import Spec

WITHIN = 120.0
"""Seconds for all of them side by side; each alone is told within 15 and mended within 60."""


@pytest.mark.long
def test_act_4_act_5_errors_leave_running_pods_alone_and_are_gone_when_mended(
    cluster: Cluster, operator: OperatorProcess, services: AgentServices
) -> None:
    states = {f"service-{number}": (what, state) for number, (what, state) in enumerate(error_states().items())}
    make_references(services, (state.healthy for _, state in states.values()))
    for name, (_, state) in states.items():
        state.prepare(services, name)

    apply_all(services, {name: state.healthy for name, (_, state) in states.items()})
    wait_for_all(services, dict.fromkeys(states, is_ready))
    operator.settle()
    healthy = Snapshot.take(cluster, services.namespace, operator.home)
    foreign = strangers(healthy)

    apply_all(services, {name: state.broken for name, (_, state) in states.items()})
    wait_for_all(services, {name: is_in(state) for name, (_, state) in states.items()})
    broken = Snapshot.take(cluster, services.namespace, operator.home)
    harmed = [what for name, (what, _) in states.items() if not serving(healthy, name) <= serving(broken, name)]
    assert harmed == [], "pods that ran are gone or serve no more"
    assert strangers(broken) == foreign

    apply_all(services, {name: state.healthy for name, (_, state) in states.items()})
    wait_until(
        lambda: not differing(healthy, Snapshot.take(cluster, services.namespace, operator.home), list(states)),
        deadline=WITHIN,
        describe=lambda: differing(
            healthy, Snapshot.take(cluster, services.namespace, operator.home), list(states)
        ).items(),
        interval=1,
    )
    assert operator.child.exit_code is None
    assert "Traceback" not in operator.child.log.read_text(errors="replace")


def apply_all(services: AgentServices, specs: dict[str, Spec]) -> None:
    for name, spec in specs.items():
        services.cluster.api.apply(agent_service(services.namespace, name) | {"spec": spec}, force=True)


def wait_for_all(services: AgentServices, wanted: dict[str, Callable[[Object], bool]]) -> None:
    def others() -> dict[str, object]:
        found = services.cluster.api.list(services.path("AgentService", ""))
        return {
            item["metadata"]["name"]: (conditions(item), message_of(item))
            for item in found
            if not wanted[item["metadata"]["name"]](item)
        }

    wait_until(lambda: not others(), deadline=WITHIN, describe=lambda: others().items(), interval=0.5)


def message_of(service: Object) -> object:
    return (condition(service, "Ready") or {}).get("message")


def is_in(state: ErrorState) -> Callable[[Object], bool]:
    def check(service: Object) -> bool:
        stalled = conditions(service).get("Stalled")
        told = verdict(service) == ("False", state.reason)
        return told and stalled == (("True", state.reason) if state.stalled else None)

    return check


def serving(snapshot: Snapshot, name: str) -> set[str]:
    """The uids of its pods that are ready."""
    return {
        pod["metadata"]["uid"]
        for pod in snapshot.objects("Pod", name)
        if any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"]["conditions"])
    }


def strangers(snapshot: Snapshot) -> list[Object]:
    """Objects that nobody controls (ACT-8): not one byte of them may change."""
    kinds = set(snapshot.found) - {"AgentService", "Pod"}
    return [
        item for kind in sorted(kinds) for item in snapshot.found[kind] if "ownerReferences" not in item["metadata"]
    ]


def differing(before: Snapshot, now: Snapshot, names: list[str]) -> dict[str, str]:
    pairs = {name: (before.state(name), now.state(name)) for name in names}
    return {name: ours.difference(theirs) for name, (ours, theirs) in pairs.items() if ours != theirs}
