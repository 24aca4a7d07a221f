"""What the service says about itself."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from agent_runtime import __version__
from agent_runtime.api.errors import SHUTTING_DOWN, ProblemError
from agent_runtime.config import RuntimeConfig
from agent_runtime.lifecycle import Lifecycle


def service_routes(config: RuntimeConfig, lifecycle: Lifecycle) -> APIRouter:
    """The routes that call no agent."""
    router = APIRouter()

    @router.get("/")
    async def service() -> dict[str, Any]:
        return {
            "name": config.service,
            "version": __version__,
            "default_agent": config.default_agent,
            "agents": [{"name": agent.name, "description": agent.description} for agent in config.agents],
        }

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @router.get("/health/ready")
    async def ready() -> dict[str, str]:
        if lifecycle.leaving:
            raise ProblemError(SHUTTING_DOWN, "Ask another replica.", retry_after=1)
        return {"status": "ok"}

    return router
