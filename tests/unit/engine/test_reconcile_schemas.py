"""What a reconcile does where the schema of a tool is none."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.engine import reconcile

from tests.unit.engine.bench import Bench, ready
from tests.unit.engine.objects import HELLO, agent_service

FAULTY: dict[str, Any] = {"type": "object", "oneOf": [{}]}


def with_tool(version: int, schema: dict[str, Any], **fields: Any) -> dict[str, Any]:
    http = {"method": "POST", "url": "http://shop.team-b.svc/orders", "inputSchema": schema}
    spec = {"tools": [{"name": "order", "type": "HTTP", "http": http}], **fields}
    return agent_service(version, spec=spec, generation=version)


async def test_a_faulty_schema_is_told_and_changes_nothing_until_it_is_mended() -> None:
    bench = Bench()
    await ready(bench)
    before = {key: value for key, value in bench.kubernetes.objects.items() if key[0] != "AgentService"}

    bench.see(with_tool(20_000, FAULTY) | {"status": bench.status})
    await bench.reconcile(HELLO)

    told = bench.condition("Ready")
    assert (told["status"], told["reason"]) == ("False", "InvalidSpec")
    assert told["message"].startswith("spec.tools[0].http.inputSchema: $.oneOf: models do not take it here")
    assert bench.condition("Stalled")["status"] == "True"
    after = {key: value for key, value in bench.kubernetes.objects.items() if key[0] != "AgentService"}
    assert after == before

    bench.see(with_tool(30_000, {"type": "object"}) | {"status": bench.status})
    await bench.reconcile(HELLO)
    bench.serve()
    await bench.reconcile(HELLO)

    assert bench.condition("Ready")["status"] == "True"


async def test_schemas_are_looked_at_once_for_each_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[dict[str, Any]] = []

    def look(service: AgentService) -> None:
        looked_at.extend(tool.http.input_schema for tool in service.spec.tools if tool.http is not None)

    monkeypatch.setattr(reconcile, "check_input_schemas", look)
    bench = Bench()
    for version, schema in ((20_000, {"title": "a"}), (30_000, {"title": "b"})):
        bench.see(with_tool(version, schema))
        await bench.reconcile(HELLO)
        await bench.reconcile(HELLO)

    assert looked_at == [{"title": "a"}, {"title": "b"}]


async def test_a_schema_that_takes_long_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    others_go_on = threading.Event()

    def look(_: AgentService) -> None:
        assert others_go_on.wait(20), "nothing else went on"

    monkeypatch.setattr(reconcile, "check_input_schemas", look)
    bench = Bench()
    bench.see(with_tool(20_000, {}))

    reconciling = asyncio.create_task(bench.reconcile(HELLO))
    await asyncio.sleep(0)
    others_go_on.set()

    await reconciling
