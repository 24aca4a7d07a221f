"""A small part of the random walks, always the same; `make walks` takes as many as 200, each time other ones."""

from __future__ import annotations

import pytest

from tests.controlplane.agent_services import AgentServices
from tests.controlplane.operator_process import OperatorProcess
from tests.controlplane.walk_batch import operator_troubles, run
from tests.unit.transitions.walks import walk

WALKS = 12


@pytest.mark.long
def test_act_3_the_children_do_not_depend_on_the_way_to_a_spec(
    operator: OperatorProcess, services: AgentServices
) -> None:
    report = run(services, operator.home, [walk(f"always-{number}") for number in range(WALKS)])

    assert report.differences == {}
    assert report.rejected == []
    assert report.edits >= 5 * WALKS  # else a generator that makes nothing would prove nothing
    assert operator_troubles(operator) == []
