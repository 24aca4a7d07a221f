"""The provider's web search: the model searches while it answers, and nothing of it runs here."""

from __future__ import annotations

from typing import Any

from agent_runtime.agent.model import Block
from agent_runtime.agent.tools.tool import Tool, ToolCallError, ToolOutput
from agent_runtime.config import ToolConfig, WebSearchConfig

_TYPE = "web_search_20250305"
"""The version that every model of the Messages API has; later ones run code of the model besides."""


class WebSearchTool:
    """Tells the provider that the model may search.

    Args:
        config: of type WebSearch.
        search: what of it is about searching.
    """

    fault: str | None = None

    def __init__(self, config: ToolConfig, search: WebSearchConfig) -> None:
        self.source = config.name
        self.timeout_seconds = config.timeout_seconds
        self.needs_approval = False
        self.repeatable = True
        self.definition: Block = {"type": _TYPE, "name": "web_search", "max_uses": search.max_uses}

    async def offered(self) -> tuple[Tool, ...]:
        """Itself."""
        return (self,)

    async def call(self, arguments: dict[str, Any], *, call_id: str) -> ToolOutput:  # noqa: ARG002 - it is never made
        """Say that the provider has to do it: Echo may ask for it, and no provider that can search."""
        raise ToolCallError("unavailable", "The provider of this model does not search the web.")

    async def aclose(self) -> None:
        """Nothing is held."""
