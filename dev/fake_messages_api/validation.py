"""What the Messages API refuses: the rules on conversations and tools that callers break most easily."""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def fault(body: dict[str, Any]) -> str | None:
    """Why the API would answer a request with 400, or None."""
    messages = body.get("messages") or []
    if not messages or messages[0]["role"] != "user":
        return "messages: the first message must use the user role"
    for tool in body.get("tools", ()):
        if not _NAME.fullmatch(tool["name"]):
            return f"tools.name: {tool['name']!r} is no name"
    names = [tool["name"] for tool in body.get("tools", ())]
    if len(names) != len(set(names)):
        return "tools: names must be unique"
    for position, message in enumerate(messages):
        if not message["content"]:
            return f"messages.{position}: content must be non-empty"
        if problem := _blocks_fault(_blocks(message)):
            return f"messages.{position}: {problem}"
    return _pairs_fault(messages, known=bool(names))


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _blocks_fault(blocks: list[dict[str, Any]]) -> str | None:
    if any(block["type"] == "text" and not block["text"] for block in blocks):
        return "text content blocks must be non-empty"
    searches = {block["id"] for block in blocks if block["type"] == "server_tool_use"}
    found = {block["tool_use_id"] for block in blocks if block["type"] == "web_search_tool_result"}
    return None if found <= searches else "web_search_tool_result blocks without server_tool_use blocks"


def _pairs_fault(messages: list[dict[str, Any]], *, known: bool) -> str | None:
    """Each message with calls is followed by one that has a result for each of them, and for nothing else."""
    expected: set[str] = set()
    for position, message in enumerate(messages):
        blocks = _blocks(message)
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if results != expected:
            return f"messages.{position}: tool_result blocks for {results}, but tool_use blocks {expected}"
        expected = {block["id"] for block in blocks if block["type"] == "tool_use"}
        if expected and not known:
            return "tools: must be given where messages have tool_use blocks"
    return f"tool_use blocks {expected} without tool_result blocks" if expected else None
