"""Echo: answers without a model, a key or a network, so that everything else can be tried."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from datetime import date

from agent_runtime.agent.model import BlockDone, BlockStarted, Completed, ModelEvent, ModelRequest, TextDelta, Usage

MODEL = "echo"


class EchoProvider:
    """Repeats the last message, saying that it is no model."""

    retires: date | None = None

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Answer word by word; a token is a word here."""
        answer = f"Echo (no model is configured): {request.messages[-1].text}"
        words = re.findall(r"\S+\s*|\s+", answer)
        shown = words[: request.max_tokens]
        yield BlockStarted()
        for word in shown:
            yield TextDelta(word)
        yield BlockDone({"type": "text", "text": "".join(shown)})
        asked = sum(len(message.text.split()) for message in request.messages) + len(request.system.split())
        yield Completed(
            model=MODEL,
            stop_reason="end_turn" if len(shown) == len(words) else "max_tokens",
            usage=Usage(input=asked, output=len(shown)),
        )

    async def aclose(self) -> None:
        """Nothing is held."""
