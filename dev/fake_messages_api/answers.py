"""What the Messages API sends: documents, events and errors, in the form of the version that the SDK speaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson

from dev.fake_messages_api.script import Script

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


CUT_SECONDS = 0.1
"""After the last text, before the connection breaks: clients throw away what of it they have not read by then."""


class CutError(Exception):
    """The connection breaks here, as the script says."""


def error(kind: str, message: str = "as the script says") -> dict[str, Any]:
    """An error, as a document and as the data of an event."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"}


def message(script: Script, request: dict[str, Any]) -> dict[str, Any]:
    """The whole answer as one document."""
    content = list(script.blocks)
    content += [{"type": "text", "text": "".join(script.deltas)}] if script.deltas else []
    content += [{"type": "tool_use", **tool.model_dump()} for tool in script.tool_use]
    return _envelope(request, content, _stop_reason(script), _usage(script, request))


async def events(script: Script, request: dict[str, Any]) -> AsyncIterator[bytes]:
    """The answer as server-sent events.

    Raises:
        CutError: the connection is to break here.
    """
    usage = _usage(script, request)
    yield _event({"type": "message_start", "message": _envelope(request, [], None, usage | {"output_tokens": 1})})
    yield _event({"type": "ping"})
    await asyncio.sleep(script.first_delay)
    first = len(script.blocks)
    for index, block in enumerate(script.blocks):
        for chunk in _block_events(index, block):
            yield chunk
    if script.deltas or script.error_after == 0 or script.cut_after == 0 or script.end_after == 0:
        async for chunk in _text_events(script, first):
            yield chunk
    if any(end is not None and end <= len(script.deltas) for end in (script.error_after, script.end_after)):
        return
    for index, tool in enumerate(script.tool_use, start=first + bool(script.deltas)):
        for chunk in _block_events(index, {"type": "tool_use", **tool.model_dump()}):
            yield chunk
    stop = {"stop_reason": _stop_reason(script), "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": stop, "usage": {"output_tokens": usage["output_tokens"]}})
    yield _event({"type": "message_stop"})


def count_tokens(request: dict[str, Any]) -> int:
    """Tokens of a request: about four characters each."""
    asked = {name: request[name] for name in ("system", "messages", "tools") if name in request}
    return max(1, len(orjson.dumps(asked)) // 4)


async def _text_events(script: Script, index: int) -> AsyncIterator[bytes]:
    yield _event({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
    for count, text in enumerate((*script.deltas, None)):
        if script.error_after == count:
            yield _event(error(script.error_type or "overloaded_error"))
            return
        if script.cut_after == count:
            await asyncio.sleep(CUT_SECONDS)
            raise CutError
        if script.end_after == count:
            return
        if script.garbage_after == count:
            yield b"event: content_block_delta\ndata: {not json\n\n"
        if text is not None:
            if count:
                await asyncio.sleep(script.delta_delay)
            yield _delta(index, {"type": "text_delta", "text": text})
    yield _event({"type": "content_block_stop", "index": index})


def _block_events(index: int, block: dict[str, Any]) -> Iterator[bytes]:
    start, deltas = _in_pieces(block)
    yield _event({"type": "content_block_start", "index": index, "content_block": start})
    for delta in deltas:
        yield _delta(index, delta)
    yield _event({"type": "content_block_stop", "index": index})


def _in_pieces(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How a block begins, and what is added to it."""
    match block["type"]:
        case "tool_use" | "server_tool_use":
            text = orjson.dumps(block["input"]).decode()
            # In two pieces, neither of which is JSON by itself: as the real one does.
            pieces = (text[: len(text) // 2], text[len(text) // 2 :])
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
        case "text":
            citations = [{"type": "citations_delta", "citation": citation} for citation in block.get("citations", ())]
            return {"type": "text", "text": ""}, [*citations, {"type": "text_delta", "text": block["text"]}]
        case "thinking":
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
    return block, []


def _envelope(
    request: dict[str, Any], content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _stop_reason(script: Script) -> str:
    return script.stop_reason or ("tool_use" if script.tool_use else "end_turn")


def _usage(script: Script, request: dict[str, Any]) -> dict[str, Any]:
    return {
        "input_tokens": count_tokens(request),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": max(1, len(script.deltas)),
    } | script.usage


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _event({"type": "content_block_delta", "index": index, "delta": delta})


def _event(data: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (data["type"].encode(), orjson.dumps(data))
