"""The children of an AgentService: made with few writes, kept as they should be, gone with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.controlplane.agent_services import CHILDREN, conditions, identity
from tests.controlplane.operator_process import said

if TYPE_CHECKING:
    from tests.controlplane.agent_services import AgentServices
    from tests.controlplane.operator_process import OperatorProcess

pytestmark = pytest.mark.usefixtures("operator")


def test_prf_1_a_new_agent_service_costs_one_write_per_child_and_two(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()

    ready = services.wait_ready()

    children = services.children()
    writes = operator.writes()
    assert sorted(item["kind"] for item in children) == sorted(set(CHILDREN) - {"HorizontalPodAutoscaler"})
    assert len(writes) <= len(children) + 2, said(writes)
    assert all(write.code < 300 for write in writes), said(writes)
    assert conditions(ready) == {"Ready": ("True", "Available")}
    assert {identity(item) for item in children} >= {"Deployment/hello", "Secret/hello-api-keys"}


@pytest.mark.parametrize("replicas", [1, 10])
def test_prf_7_a_rollout_costs_at_most_four_status_writes_whatever_its_size(
    operator: OperatorProcess, services: AgentServices, replicas: int
) -> None:
    services.apply(replicas=replicas)
    services.wait(lambda service: service["status"].get("readyReplicas") == replicas)

    status_writes = [write for write in operator.writes() if write.subresource == "status"]

    assert len(status_writes) <= 4, said(status_writes)
