"""Echo: answers without a model, a key or a network, so that everything else can be tried."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncGenerator
from datetime import date

import orjson

from agent_runtime.agent.model import (
    Block,
    BlockDone,
    BlockStarted,
    Completed,
    Message,
    ModelEvent,
    ModelRequest,
    TextDelta,
    Usage,
)

MODEL = "echo"
_CALL = re.compile(r"^/tool +(?P<name>[-A-Za-z0-9_]+) *(?P<input>\{.*\})? *$", re.MULTILINE)


class EchoProvider:
    """Repeats the last message, saying that it is no model.

    Where an answer must have a form, it is the message itself if that is a JSON object, else an empty one.
    Each line ``/tool NAME {"some": "input"}`` of a message is a call of that tool, so that tools can be tried, too.
    """

    retires: date | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer word by word, or call tools; a token is a word here."""
        asked = sum(len(_said(message).split()) for message in request.messages) + len(request.system.split())
        if request.may_call and (calls := _calls(request.messages[-1])):
            for call in calls:
                yield BlockStarted()
                yield BlockDone(call)
            yield Completed(model=MODEL, stop_reason="tool_use", usage=Usage(input=asked, output=len(calls)))
            return
        said = _said(request.messages[-1])
        if request.output_schema is None:
            answer = f"Echo (no model is configured): {said}"
        else:
            answer = said if isinstance(_parsed(said), dict) else "{}"
        words = re.findall(r"\S+\s*|\s+", answer)
        shown = words[: request.max_tokens]
        yield BlockStarted()
        for word in shown:
            yield TextDelta(word)
        yield BlockDone({"type": "text", "text": "".join(shown)})
        yield Completed(
            model=MODEL,
            stop_reason="end_turn" if len(shown) == len(words) else "max_tokens",
            usage=Usage(input=asked, output=len(shown)),
        )

    async def aclose(self) -> None:
        """Nothing is held."""


def _calls(message: Message) -> list[Block]:
    return [
        {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex}", "name": match["name"], "input": given}
        for match in _CALL.finditer(message.text)
        if isinstance(given := _parsed(match["input"]), dict)
    ]


def _parsed(text: str | None) -> object:
    try:
        return orjson.loads(text or "{}")
    except orjson.JSONDecodeError:
        return None


def _said(message: Message) -> str:
    """The text of a message, or what tools returned."""
    if isinstance(message.content, str):
        return message.content
    results = [_text_of(block["content"]) for block in message.content if block["type"] == "tool_result"]
    return "\n".join(results) or message.text


def _text_of(content: str | list[Block]) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content)
