"""What a call of an MCP tool returned, as text."""

from __future__ import annotations

from collections.abc import Iterator

import mcp_types
import orjson


def text_of(result: mcp_types.CallToolResult) -> str:
    """The parts of a result that are text, each on lines of its own; of the others, that they are there."""
    if not result.content and result.structured_content is not None:
        return orjson.dumps(result.structured_content).decode()
    return "\n".join(_texts(result))


def _texts(result: mcp_types.CallToolResult) -> Iterator[str]:
    for block in result.content:
        match block:
            case mcp_types.TextContent(text=text):
                yield text
            case mcp_types.ResourceLink(uri=uri, name=name):
                yield f"{name}: {uri}"
            case mcp_types.EmbeddedResource(resource=mcp_types.TextResourceContents(text=text)):
                yield text
            case mcp_types.EmbeddedResource(resource=resource):
                yield f"[a file of type {resource.mime_type or 'unknown'}, which is not shown]"
            case mcp_types.ImageContent(mime_type=kind) | mcp_types.AudioContent(mime_type=kind):
                yield f"[{kind}, which is not shown]"
