"""What the service says about itself."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from agent_runtime import __version__
from agent_runtime.api.answers import ProbeDocument, ServiceDocument
from agent_runtime.api.errors import SHUTTING_DOWN, ProblemError
from agent_runtime.api.json_response import json_response
from agent_runtime.api.openapi import operation
from agent_runtime.config import RuntimeConfig
from agent_runtime.lifecycle import Lifecycle


def service_routes(config: RuntimeConfig, lifecycle: Lifecycle) -> APIRouter:
    """The routes that call no agent."""
    router = APIRouter(tags=["Service"])

    @router.get("/", **operation("Read what the service is", answer=ServiceDocument))
    async def service() -> Response:
        document = {
            "name": config.service,
            "version": __version__,
            "default_agent": config.default_agent,
            "agents": [{"name": agent.name, "description": agent.description} for agent in config.agents],
        }
        return json_response(document)

    @router.get("/health/live", **operation("Probe whether the process lives", answer=ProbeDocument))
    async def live() -> Response:
        return json_response({"status": "ok"})

    described = operation("Probe whether to send requests", answer=ProbeDocument, problems=[SHUTTING_DOWN])

    @router.get("/health/ready", **described)
    async def ready() -> Response:
        if lifecycle.leaving:
            raise ProblemError(SHUTTING_DOWN, "Ask another replica.", retry_after=1)
        return json_response({"status": "ok"})

    return router
