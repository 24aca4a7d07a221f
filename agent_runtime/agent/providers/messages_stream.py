"""The server-sent events of the Messages API: from their bytes to blocks and text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar

import orjson
import structlog

from agent_runtime.agent.model import (
    Block,
    BlockDone,
    BlockStarted,
    Completed,
    ModelCallError,
    ModelEvent,
    TextDelta,
    Usage,
)
from agent_runtime.api.errors import (
    UPSTREAM_INTERRUPTED,
    UPSTREAM_OVERLOADED,
    UPSTREAM_REJECTED,
    UPSTREAM_UNAVAILABLE,
)

_log = structlog.get_logger()

T = TypeVar("T")

LINE_LIMIT_BYTES = 1024 * 1024
"""An event has one piece of text, or one result of a web search; the whole line of it is held."""
ANSWER_LIMIT_CHARACTERS = 4 * 1024 * 1024
"""Four times what the most tokens that a model may be asked for, 200,000, make."""
_NAME = re.compile(r"[!-~]{1,128}")
_KIND = re.compile(r"[a-z_]{1,64}")
_OVERLOADED_TYPES = frozenset({"overloaded_error", "rate_limit_error"})
_REPEATABLE_TYPES = frozenset({"api_error", "timeout_error"})
_PIECES = {"text_delta": "text", "input_json_delta": "partial_json", "thinking_delta": "thinking"}
"""Deltas whose pieces make up one string, with the field that has the piece."""


class MessagesStream:
    """One answer, read from the bytes of its server-sent events."""

    def __init__(self) -> None:
        self._rest = b""
        self._model = ""
        self._stop_reason = ""
        self._usage: dict[str, Any] = {}
        self._characters = 0
        self._block: Block = {}
        self._pieces: list[str] = []
        self._call_broke_off = False

    def read(self, chunk: bytes) -> Iterator[ModelEvent]:
        """What `chunk` completes.

        Lines end with a line feed only: text libraries also split at U+2028 and its like, which JSON strings may hold.
        Each event of the Messages API has its data in one line.

        Raises:
            ModelCallError: the provider says that it failed, or nothing that can be understood.
        """
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                try:
                    event = self._understand(orjson.loads(line[len(b"data:") :]))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    _log.warning("provider sent what is not an answer", reason=type(error).__name__)
                    raise ModelCallError(UPSTREAM_INTERRUPTED, "The provider sent what is not an answer.") from None
                if event is not None:
                    yield event
        if len(self._rest) > LINE_LIMIT_BYTES or self._characters > ANSWER_LIMIT_CHARACTERS:
            raise ModelCallError(UPSTREAM_INTERRUPTED, "The provider sent more than an answer can have.")

    def _understand(self, event: dict[str, Any]) -> ModelEvent | None:
        match event["type"]:
            case "content_block_delta":
                return self._grow(event["delta"])
            case "content_block_start":
                return self._begin(_checked(event["content_block"], dict))
            case "content_block_stop":
                return self._end()
            case "message_start":
                self._model = _name(event["message"]["model"])
                self._usage |= event["message"]["usage"]
            case "message_delta":
                if reason := event["delta"].get("stop_reason"):
                    self._stop_reason = _name(reason)
                # Its counts are cumulative; those it leaves out stay as they were.
                self._usage |= {kind: count for kind, count in event["usage"].items() if count is not None}
            case "message_stop":
                if self._call_broke_off and self._stop_reason == "tool_use":
                    raise ValueError("a tool is called with what is not JSON")
                return Completed(model=self._model, stop_reason=self._stop_reason, usage=_usage(self._usage))
            case "error":
                raise _from_event(event["error"])
        return None

    def _begin(self, block: Block) -> ModelEvent:
        _checked(block["type"], str)
        if block["type"] != "text":
            self._characters += len(orjson.dumps(block))
        self._block, self._pieces = block, []
        return BlockStarted()

    def _grow(self, delta: dict[str, Any]) -> ModelEvent | None:
        kind = delta["type"]
        if kind in _PIECES:
            piece = _checked(delta[_PIECES[kind]], str)
            self._characters += len(piece)
            self._pieces.append(piece)
            return TextDelta(piece) if kind == "text_delta" else None
        if kind == "citations_delta":
            self._characters += len(orjson.dumps(delta))
            self._block["citations"] = [*(self._block.get("citations") or ()), _checked(delta["citation"], dict)]
        elif kind == "signature_delta":
            self._block["signature"] = _checked(delta["signature"], str)
        return None

    def _end(self) -> ModelEvent | None:
        """The block that ends, None where nothing of it can be told or sent back."""
        block, whole = self._block, "".join(self._pieces)
        match block["type"]:
            case "text":
                block["text"] = _checked(block.get("text", ""), str) + whole
                return BlockDone(block) if block["text"] else None
            case "thinking":
                block["thinking"] = _checked(block.get("thinking", ""), str) + whole
            case "tool_use" | "server_tool_use":
                try:
                    block["input"] = _checked(orjson.loads(whole), dict) if whole else block["input"]
                except orjson.JSONDecodeError:
                    # The most tokens were reached in the midst of it, as the reason for the stop will say.
                    self._call_broke_off = True
                    return None
                _name(block["id"]), _name(block["name"])
        return BlockDone(block)


def failure_name(value: object) -> str:
    """The provider's name for a failure as callers and logs may see it: it could write anything there."""
    return value if isinstance(value, str) and _KIND.fullmatch(value) else "no known reason"


def _usage(raw: dict[str, Any]) -> Usage:
    return Usage(
        input=_count(raw.get("input_tokens")),
        output=_count(raw.get("output_tokens")),
        cache_read=_count(raw.get("cache_read_input_tokens")),
        cache_write=_count(raw.get("cache_creation_input_tokens")),
        web_searches=_count((raw.get("server_tool_use") or {}).get("web_search_requests")),
    )


def _count(value: object) -> int:
    count = _checked(value or 0, int)
    if count < 0:
        raise ValueError("less than nothing")
    return count


def _name(value: object) -> str:
    if not _NAME.fullmatch(name := _checked(value, str)):
        raise ValueError("no name")
    return name


def _checked(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"a {kind.__name__} was expected")
    return value


def _from_event(error: dict[str, Any]) -> ModelCallError:
    kind = failure_name(error.get("type"))
    _log.warning("provider failed within its answer", type=kind)
    if kind in _OVERLOADED_TYPES:
        return ModelCallError(UPSTREAM_OVERLOADED, f"The provider says {kind}.", retryable=True)
    if kind in _REPEATABLE_TYPES:
        return ModelCallError(UPSTREAM_UNAVAILABLE, f"The provider says {kind}.", retryable=True)
    return ModelCallError(UPSTREAM_REJECTED, f"The provider says {kind}.")
