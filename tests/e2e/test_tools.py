"""Tools in the cluster: an agent calls a Service by its name, and nothing that no tool may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dev.cluster import Cluster
from dev.kind_session import Session
from tests.controlplane.agent_services import AgentServices
from tests.e2e.agents import SMALL, wait_ready
from tests.e2e.inside import inside
from tests.e2e.pods import serve_pod

PROGRAM = Path(__file__).parent / "in_cluster" / "tools.py"
PORT = 8088
FORBIDDEN = {
    "itself": ("http://localhost:8080/health/live", "that of this pod itself"),
    "metadata": ("http://169.254.169.254/latest/meta-data/", "link-local"),
    "api-server": ("https://kubernetes.default.svc/version", "that of the Kubernetes API server"),
}
"""Where no tool may be, and what the model is told of it."""


def test_an_agent_calls_the_services_of_the_cluster_and_nothing_beyond(
    session: Session, kind: Cluster, namespace: str
) -> None:
    services = AgentServices(kind, namespace)
    command, files = ["python", f"/source/{PROGRAM.name}", str(PORT)], {PROGRAM.name: PROGRAM.read_text()}
    url = serve_pod(kind, namespace, "shop", port=PORT, image=session.images.runtime, files=files, command=command)
    order = http_tool("order", f"http://shop.{namespace}.svc:{PORT}/orders", method="POST")
    forbidden = [http_tool(name, address, method="GET") for name, (address, _) in FORBIDDEN.items()]
    tools = [order, *forbidden]
    agent = {
        "name": "assistant",
        "systemPrompt": "You help customers.",
        "tools": [tool["name"] for tool in tools],
        "maxTurns": 2,
    }
    services.apply(runtime=SMALL, agents=[agent], tools=tools)
    wait_ready(kind, namespace, "hello")

    with inside(kind, namespace, "hello", image=session.images.runtime) as caller:
        ordered = caller.call("POST", "/v1/chat", {"message": '/tool order {"dish": "soup"}'}).json()
        asked = caller.call("GET", f"{url}/calls").json()
        refused = {name: caller.call("POST", "/v1/chat", {"message": f"/tool {name}"}).json() for name in FORBIDDEN}

    assert [(call["name"], call["outcome"]) for call in ordered["tool_calls"]] == [("order", "ok")]
    assert "order 1 is on its way" in ordered["message"]
    [call] = asked
    assert (call["method"], call["path"], json.loads(call["body"])) == ("POST", "/orders", {"dish": "soup"})
    assert call["headers"]["idempotency-key"] == ordered["tool_calls"][0]["id"]
    for name, (_, reason) in FORBIDDEN.items():
        assert [call["outcome"] for call in refused[name]["tool_calls"]] == ["unavailable"], refused[name]
        assert f"The tool may not be called: its address is {reason}." in refused[name]["message"]


def http_tool(name: str, url: str, *, method: str) -> dict[str, Any]:
    """A tool that takes any input."""
    http = {"description": "A tool of a test.", "method": method, "url": url, "inputSchema": {"type": "object"}}
    return {"name": name, "type": "HTTP", "http": http}
