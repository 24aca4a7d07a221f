"""Specs that the API server takes and that would hold or break whoever reads them for everybody."""

from __future__ import annotations

import time
from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.parse import InvalidSpec, parse
from agentservice_operator.builders.raw import as_stored


def agent_service(**spec: Any) -> dict[str, Any]:
    models = [{"name": "main", "provider": "Echo"}]
    agents = [{"name": "assistant", "systemPrompt": "Be brief."}]
    metadata = {"name": "hello", "namespace": "default"}
    return {"metadata": metadata, "spec": {"models": models, "agents": agents, **spec}}


@pytest.mark.parametrize("value", ["a" * 4096, "a://" + "x" * 4092, "://" * 1365])
def test_long_values_of_variables_hold_nobody_up(value: str) -> None:
    variables = [{"name": f"V{number}", "value": value} for number in range(128)]
    began = time.process_time()

    parse(agent_service(runtime={"env": variables}))

    assert time.process_time() - began < 1  # 0.01 s; 5 s where a search takes time by the square of the length


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": [value]}
    return value


def test_a_raw_field_that_nests_too_deeply_is_refused_with_a_sentence() -> None:
    with pytest.raises(
        InvalidSpec, match=r"^spec\.runtime\.affinity: the value nests deeper than 64 levels: flatten it"
    ):
        parse(agent_service(runtime={"affinity": nested(400)}))


def test_a_raw_field_may_nest_deeper_than_any_of_kubernetes() -> None:
    parse(agent_service(runtime={"affinity": nested(25)}))


@pytest.mark.parametrize("quantity", ["1e999999998", "9" * 1000 + "Ki"])
def test_a_raw_quantity_beyond_all_bounds_is_left_to_the_server(quantity: str) -> None:
    metric = {"external": {"target": {"averageValue": quantity}}}

    assert as_stored(metric) == metric
