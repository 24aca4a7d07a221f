"""The other peer: FastAPI and the official SDK, as one writes it in an afternoon, without identity, limits or state.

BENCHMARK_UPSTREAM=http://... python -m benchmarks.runtime.plain PORT
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from benchmarks.runtime.litellm_proxy import MODEL

client = anthropic.AsyncAnthropic(api_key="not-a-secret", base_url=os.environ["BENCHMARK_UPSTREAM"], max_retries=0)
app = FastAPI()


class Chat(BaseModel):
    """What a caller sends."""

    message: str


@app.post("/chat")
async def chat(ask: Chat) -> dict[str, Any]:
    """One answer as a document."""
    answer = await client.messages.create(
        model=MODEL, max_tokens=1024, messages=[{"role": "user", "content": ask.message}]
    )
    text = "".join(block.text for block in answer.content if block.type == "text")
    return {"message": text, "model": answer.model, "usage": answer.usage.model_dump()}


@app.post("/chat/stream")
async def chat_stream(ask: Chat) -> StreamingResponse:
    """One answer as server-sent events."""

    async def events() -> AsyncIterator[str]:
        async with client.messages.stream(
            model=MODEL, max_tokens=1024, messages=[{"role": "user", "content": ask.message}]
        ) as stream:
            async for text in stream.text_stream:
                yield f"data: {text}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False)
