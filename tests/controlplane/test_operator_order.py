"""Whatever comes first, the AgentService or what it needs: it ends Ready, untouched, and nobody is told to help."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import permutations

import pytest

from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, conditions, is_ready, verdict
from tests.controlplane.operator_process import OperatorProcess
from tests.controlplane.status_history import recorded

STEPS = ("agent", "prompts", "key")
ORDERS = {"".join(step[0] for step in order): order for order in permutations(STEPS)}
"""By the name of the AgentService that lives it."""
ROOM_DEADLINE = 120.0
"""Seconds; the longer there was no room, the longer the ReplicaSet controller waits before it tries again."""


def take(services: AgentServices, name: str, step: str) -> None:
    """One step on the way of one AgentService."""
    match step:
        case "agent":
            prompt = {"configMapKeyRef": {"name": f"{name}-prompts", "key": "main"}}
            key = {"secretKeyRef": {"name": f"{name}-key", "key": "api-key"}}
            model = {"model": "claude-fake", "credentials": key}
            services.apply(
                name,
                models=[{"name": "main", "provider": "Anthropic", "anthropic": model}],
                agents=[{"name": "assistant", "systemPromptFrom": prompt}],
            )
        case "prompts":
            services.make_config_map(f"{name}-prompts", main="Help.")
        case _:
            services.make_secret(f"{name}-key", **{"api-key": "fake"})


def allow_pods(services: AgentServices, count: int) -> None:
    """Set the quota of the namespace, and wait until it holds."""
    metadata = {"name": "pods", "namespace": services.namespace}
    hard = {"pods": str(count)}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}}
    path = services.cluster.api.path_of(services.cluster.api.apply(quota, force=True))
    wait_until(lambda: services.cluster.api.get(path)["status"].get("hard") == hard, deadline=DEADLINE, describe=path)


@pytest.mark.parametrize("room_before", range(len(STEPS) + 1))
def test_the_order_in_which_things_come_means_nothing(
    operator: OperatorProcess, services: AgentServices, room_before: int
) -> None:
    """Each order of the AgentService, its ConfigMap and its Secret; before which step the quota leaves room, varies."""
    allow_pods(services, 0)

    with ExitStack() as stack:
        histories = [stack.enter_context(recorded(services, name)) for name in ORDERS]
        for number in range(len(STEPS) + 1):
            if number == room_before:
                allow_pods(services, 100)
            for name, order in ORDERS.items():
                if number < len(STEPS):
                    take(services, name, order[number])
            for name, order in ORDERS.items():
                taken = order[: number + 1]
                if "agent" in taken:
                    wait_for(services, name, complete=len(taken) == len(STEPS), room=number >= room_before)

    for history in histories:
        assert is_ready(history.states[-1])
        assert history.states[-1]["metadata"]["generation"] == 1
        assert not any("Stalled" in conditions(state) for state in history.states)
        assert history.breaches() == []
    assert operator.child.exit_code is None


def wait_for(services: AgentServices, name: str, *, complete: bool, room: bool) -> None:
    """Wait until the AgentService says what it lacks, or that it lacks nothing."""
    expected = ("False", "ReferenceNotFound")
    if complete:
        expected = ("True", "Available") if room else ("False", "QuotaExceeded")
    services.wait(lambda service: verdict(service) == expected, name, deadline=ROOM_DEADLINE)
