"""The agents of the service, and how they do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from agent_runtime.api.answers import AgentDocument, AgentPage
from agent_runtime.api.errors import AGENT_NOT_FOUND, ProblemError
from agent_runtime.api.json_response import json_response
from agent_runtime.api.openapi import operation
from agent_runtime.config import AgentConfig, RuntimeConfig
from agent_runtime.pipeline.statistics import Figures, Statistics
from agent_runtime.state.service_statistics import ServiceStatistics


def agent_routes(config: RuntimeConfig, statistics: Statistics, of_service: ServiceStatistics | None) -> APIRouter:
    """GET /v1/agents and /v1/agents/{name}.

    Args:
        config: has the agents.
        statistics: of this process.
        of_service: of all processes that share its database; None where none do.
    """
    router = APIRouter(tags=["Agents"])
    agents = {agent.name: agent for agent in config.agents}

    @router.get("/v1/agents", **operation("List the agents", answer=AgentPage))
    async def every() -> Response:
        figures, told = await now()
        items = [document(agent, figures) for agent in agents.values()]
        return json_response({"items": items, "next_cursor": None, **told})

    @router.get("/v1/agents/{name}", **operation("Read an agent", answer=AgentDocument, problems=[AGENT_NOT_FOUND]))
    async def one(name: str) -> Response:
        try:
            agent = agents[name]
        except KeyError:
            raise ProblemError(AGENT_NOT_FOUND, f"This service has the agents {', '.join(agents)}.") from None
        figures, told = await now()
        return json_response({**document(agent, figures), **told})

    async def now() -> tuple[Mapping[str, Figures], dict[str, Any]]:
        """The figures of all agents, and whose they are."""
        found = await of_service.figures() if of_service else None
        if found is not None:
            return found.of, {"scope": "service", "since": _moment(found.since)}
        of_pod = {name: each.figures for name, each in statistics.of.items()}
        return of_pod, {"scope": "pod", "since": _moment(statistics.since)}

    def document(agent: AgentConfig, figures: Mapping[str, Figures]) -> dict[str, Any]:
        return {
            "name": agent.name,
            "description": agent.description,
            "default": agent.name == config.default_agent,
            "model": agent.model,
            "statistics": figures[agent.name].document(),
        }

    return router


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
