"""Schemas of tools' inputs are judged as the runtime judges them, before a pod starts with one."""

from __future__ import annotations

from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.input_schemas import check_input_schemas
from agentservice_operator.api.v1alpha1.parse import InvalidSpec, parse

from agent_runtime.input_schema import input_schema_fault
from tests.unit.api.refusals import changed


def tool(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    http = {"method": "GET", "url": "https://api.example.com/{city}", "inputSchema": schema}
    return {"name": name, "type": "HTTP", "http": http}


FAULTY: list[tuple[dict[str, Any], str]] = [
    ({"type": "string"}, '$.type: must be "object", as models call tools so'),
    ({"properties": 1}, "$.properties: 1 is not of type 'object'"),
    (
        {"properties": {"a": {"type": "text"}}},
        "$.properties.a.type: 'text' is not valid under any of the given schemas",
    ),
    ({"properties": {"a": {"pattern": "["}}}, "$.properties.a.pattern: '[' is not a 'regex'"),
    ({"anyOf": [{"required": ["a"]}]}, "$.anyOf: models do not take it here: move it into a property, or leave it out"),
    ({"properties": {"a b": {}}}, "$.properties: 'a b' is no name of an input that models take: use up to 64 letters"),
]


@pytest.mark.parametrize(("schema", "said"), FAULTY)
def test_a_faulty_schema_is_named_with_its_place_and_the_remedy(schema: dict[str, Any], said: str) -> None:
    service = parse(changed({"spec.tools": [tool("first", {}), tool("second", schema)]}))

    with pytest.raises(InvalidSpec) as refused:
        check_input_schemas(service)

    assert str(refused.value).startswith(f"spec.tools[1].http.inputSchema: {said}")
    assert str(refused.value).endswith("; correct the JSON schema.")
    assert (input_schema_fault({"type": "object", **schema}) or "").startswith(said)


def test_other_schemas_and_other_tools_are_let_be() -> None:
    nested = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, "x-own": 1}
    search = {"name": "search", "type": "WebSearch", "webSearch": {}}

    check_input_schemas(parse(changed({"spec.tools": [tool("a", {}), tool("b", nested), search]})))
