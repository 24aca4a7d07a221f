"""Tools: what agents can do besides talking, one file per type, and how their calls are run."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable, Mapping
from types import ModuleType

from agent_runtime.agent.tools.tool import Tool, ToolSource
from agent_runtime.agent.tools.web_search import WebSearchTool
from agent_runtime.config import RuntimeConfig
from agent_runtime.tls import outbound_tls


async def open_tools(config: RuntimeConfig, *, loopback: bool) -> Mapping[str, ToolSource]:
    """The tools of the configuration by their names.

    Args:
        config: with tools or without.
        loopback: whether tools may be on this machine.

    Raises:
        ConfigurationError: one can never work.
    """
    tools: dict[str, ToolSource] = {}
    for tool in config.tools:
        if tool.http is not None:
            module = await _imported("agent_runtime.agent.tools.http")
            tools[tool.name] = module.HttpTool(
                tool, tool.http, outbound_tls(config.trust_bundle_file), loopback=loopback
            )
        if tool.mcp is not None:
            module = await _imported("agent_runtime.agent.tools.mcp.server")
            tools[tool.name] = module.McpServer(
                tool, tool.mcp, outbound_tls(config.trust_bundle_file), loopback=loopback
            )
        if tool.web_search is not None:
            tools[tool.name] = WebSearchTool(tool, tool.web_search)
    return tools


async def offered(tools: Iterable[ToolSource]) -> dict[str, Tool]:
    """What an agent can call now, by the names that models use.

    Args:
        tools: of the agent. Servers among them are looked at side by side.
    """
    offers = await asyncio.gather(*(tool.offered() for tool in tools))
    return {tool.definition["name"]: tool for offer in offers for tool in offer}


async def _imported(module: str) -> ModuleType:
    """The clients take long to import: only where they are needed, and beside the loop, which goes on beating."""
    return await asyncio.to_thread(importlib.import_module, module)
