"""Tools: what agents can do besides talking, one file per type, and how their calls are run."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping

from agent_runtime.agent.tools.tool import Tool
from agent_runtime.agent.tools.web_search import WebSearchTool
from agent_runtime.config import RuntimeConfig
from agent_runtime.tls import outbound_tls


async def open_tools(config: RuntimeConfig, *, loopback: bool) -> Mapping[str, Tool]:
    """The tools of the configuration by their names.

    Args:
        config: with tools or without.
        loopback: whether tools may be on this machine.

    Raises:
        ConfigurationError: one can never work.
    """
    tools: dict[str, Tool] = {}
    for tool in config.tools:
        if tool.http is not None:
            # The clients take long to import: only where they are needed, and beside the loop, which goes on beating.
            module = await asyncio.to_thread(importlib.import_module, "agent_runtime.agent.tools.http")
            tools[tool.name] = module.HttpTool(
                tool, tool.http, outbound_tls(config.trust_bundle_file), loopback=loopback
            )
        if tool.web_search is not None:
            tools[tool.name] = WebSearchTool(tool, tool.web_search)
    return tools
