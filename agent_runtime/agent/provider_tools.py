"""Calls of tools that run at the provider: they come in an answer together with their results."""

from __future__ import annotations

from collections.abc import Iterator

from agent_runtime.agent.model import Block, Message, as_content
from agent_runtime.pipeline.turn import CalledTool, ToolCall, ToolResult

_RESULT = "web_search_tool_result"
_NAME = "web_search"


def provider_call(block: Block) -> ToolCall | ToolResult | None:
    """What a block of an answer tells of such a call, if it does."""
    match block["type"]:
        case "server_tool_use":
            return ToolCall(block["id"], block["name"], block["input"])
        case "web_search_tool_result":
            return ToolResult(block["tool_use_id"], _NAME, _outcome(block), None)
    return None


def provider_calls(message: Message) -> Iterator[CalledTool]:
    """Those of an answer that have results."""
    results = {block["tool_use_id"]: block for block in _blocks(message) if block["type"] == _RESULT}
    for block in _blocks(message):
        if block["type"] == "server_tool_use" and block["id"] in results:
            outcome = _outcome(results[block["id"]])
            yield CalledTool(block["id"], block["name"], block["input"], outcome, None)


def without_open_calls(message: Message) -> Message:
    """An answer that can stand in a conversation: a call without its result could not be sent again."""
    if isinstance(message.content, str):
        return message
    answered = {call.id for call in provider_calls(message)}
    kept = [
        block
        for block in message.content
        if block["type"] != "tool_use" and (block["type"] != "server_tool_use" or block["id"] in answered)
    ]
    return Message("assistant", as_content(kept))


def _blocks(message: Message) -> tuple[Block, ...]:
    return () if isinstance(message.content, str) else message.content


def _outcome(result: Block) -> str:
    """Where a search failed, its content is one object that says why."""
    return "ok" if isinstance(result["content"], list) else "error"
