"""Specs whose tools break one rule each."""

from __future__ import annotations

from typing import Final

from tests.unit.api.refusals import KEY, Refusal

TOOL: Final = {
    "name": "weather",
    "type": "HTTP",
    "http": {"method": "GET", "url": "https://api.example.com/{city}", "inputSchema": {}},
}
SERVER: Final = {"name": "docs", "type": "MCP", "mcp": {"url": "https://mcp.example.com/mcp"}}


TOOL_RULES = (
    Refusal(
        {"spec.tools": [TOOL], "spec.agents.0.tools": ["other"]},
        "spec.agents",
        "the tools of every agent must be names",
    ),
    Refusal(
        {"spec.tools": [{"name": "a", "type": "HTTP"}]}, "spec.tools[0].http", "http must be set where type is HTTP"
    ),
    Refusal(
        {"spec.tools": [{"name": "a", "type": "WebSearch"}]},
        "spec.tools[0].webSearch",
        "webSearch must be set where type",
    ),
    Refusal(
        {"spec.tools": [{"name": "a", "type": "WebSearch", "webSearch": {}, "approval": "Always"}]},
        "spec.tools[0].approval",
        "nobody can be asked",
    ),
    Refusal(
        {"spec.tools": [{"name": name, "type": "WebSearch", "webSearch": {}} for name in ("a", "b")]},
        "spec.tools",
        "models know one web search",
    ),
    *(
        Refusal(
            {"spec.tools": [TOOL], "spec.tools.0.http.url": url}, "spec.tools[0].http.url", "{placeholders} come after"
        )
        for url in ("http://{host}/", "http://a.{zone}.example.com/", "https://me:pw@api.example.com/", "http://a/#b")
    ),
    *(
        Refusal(
            {"spec.tools": [TOOL], "spec.tools.0.http.headers": [header]}, f"spec.tools[0].http.headers[0]{at}", says
        )
        for header, at, says in (
            ({"name": "Authorization", "value": "Bearer x"}, ".value", "put it into a Secret"),
            ({"name": "X-Api-Key", "value": "x"}, ".value", "put it into a Secret"),
            ({"name": "X-Auth-Token", "value": "x"}, ".value", "put it into a Secret"),
            ({"name": "Host", "value": "localhost"}, ".name", "remove it"),
            ({"name": "idempotency-key", "valueFrom": KEY}, ".name", "remove it"),
            ({"name": "X-Tenant"}, "", "set either value or valueFrom"),
        )
    ),
    Refusal({"spec.tools": [{"name": "a", "type": "MCP"}]}, "spec.tools[0].mcp", "mcp must be set where type is MCP"),
    *(
        Refusal(
            {"spec.tools": [SERVER], "spec.tools.0.mcp.url": url},
            "spec.tools[0].mcp.url",
            "secrets belong into headers",
        )
        for url in (
            "https://mcp.example.com/{tenant}",
            "https://me:pw@mcp.example.com/",
            "http://a/#b",
            "mcp.example.com",
        )
    ),
    *(
        Refusal({"spec.tools": [SERVER], "spec.tools.0.mcp.headers": [header]}, f"spec.tools[0].mcp.headers{at}", says)
        for header, at, says in (
            ({"name": "Authorization", "value": "Bearer x"}, "[0].value", "put it into a Secret"),
            ({"name": "Mcp-Session-Id", "value": "x"}, "", "the protocol has them"),
            ({"name": "accept", "value": "x"}, "", "the protocol has them"),
        )
    ),
)
