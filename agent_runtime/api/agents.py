"""The agents of the service, and how they do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from agent_runtime.api.answers import AgentDocument, AgentPage
from agent_runtime.api.errors import AGENT_NOT_FOUND, ProblemError
from agent_runtime.api.json_response import json_response
from agent_runtime.api.openapi import operation
from agent_runtime.config import AgentConfig, RuntimeConfig
from agent_runtime.pipeline.statistics import Statistics

SCOPE = "pod"
"""Whom the numbers are about: the process that answers. Replicas have their own."""


def agent_routes(config: RuntimeConfig, statistics: Statistics) -> APIRouter:
    """GET /v1/agents and /v1/agents/{name}."""
    router = APIRouter(tags=["Agents"])
    agents = {agent.name: agent for agent in config.agents}

    @router.get("/v1/agents", **operation("List the agents", answer=AgentPage))
    async def every() -> Response:
        items = [document(agent) for agent in agents.values()]
        return json_response({"items": items, "next_cursor": None, "scope": SCOPE})

    @router.get("/v1/agents/{name}", **operation("Read an agent", answer=AgentDocument, problems=[AGENT_NOT_FOUND]))
    async def one(name: str) -> Response:
        try:
            agent = agents[name]
        except KeyError:
            raise ProblemError(AGENT_NOT_FOUND, f"This service has the agents {', '.join(agents)}.") from None
        return json_response({**document(agent), "scope": SCOPE})

    def document(agent: AgentConfig) -> dict[str, Any]:
        return {
            "name": agent.name,
            "description": agent.description,
            "default": agent.name == config.default_agent,
            "model": agent.model,
            "statistics": statistics.of[agent.name].document(),
        }

    return router
