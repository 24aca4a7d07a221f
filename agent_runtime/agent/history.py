"""What of a conversation the model is shown again: its newest turns, whole, within a number of tokens; one at least."""

from __future__ import annotations

import math

import orjson

from agent_runtime.agent.model import Block, Message, as_content

BYTES_PER_TOKEN = 4
"""The rule of thumb for English that providers give; of other scripts a letter has more bytes and more tokens."""
TOKENS_OF_IMAGE = 1_600
"""Most that an image costs: larger ones are scaled down. Source: Anthropic's documentation of vision."""
STRIDES_PER_LIMIT = 4
"""What is dropped is dropped in such parts of the limit. With every turn another beginning, nothing would ever be read
from the provider's cache, which knows a prompt by how it begins."""


def trimmed(history: tuple[Message, ...], max_tokens: int) -> tuple[Message, ...]:
    """The end of a conversation that has at most `max_tokens` by our estimate; it begins with a caller's message.

    Whole turns are left out, so that no result of a tool is without its call. The newest is shown whatever its size: a
    model that knew nothing of it would answer the next question as if there had been none, and nobody would be told.
    """
    sizes = [estimated_tokens(message) for message in history]
    excess = sum(sizes) - max_tokens
    if excess <= 0:
        return history
    stride = max(1, max_tokens // STRIDES_PER_LIMIT)
    dropped = 0
    newest = 0
    for position, (message, size) in enumerate(zip(history, sizes, strict=True)):
        if message.begins_turn:
            newest = position
            if dropped >= math.ceil(excess / stride) * stride:
                break
        dropped += size
    return history[newest:]


def without_tools(history: tuple[Message, ...]) -> tuple[Message, ...]:
    """A conversation without what tools did in it: providers refuse that of an agent that has no tools any more."""
    kept = (
        message
        if isinstance(message.content, str)
        else Message(message.role, as_content([_plain(block) for block in message.content if _is_of_talk(block)]))
        for message in history
    )
    return tuple(message for message in kept if message.content)


def _is_of_talk(block: Block) -> bool:
    return "tool" not in block["type"]


def _plain(block: Block) -> Block:
    return {field: value for field, value in block.items() if field != "citations"}


def estimated_tokens(message: Message) -> int:
    """About how many tokens a message has."""
    if isinstance(message.content, str):
        return len(message.content.encode()) // BYTES_PER_TOKEN + 1
    return sum(_tokens_of_block(block) for block in message.content)


def _tokens_of_block(block: Block) -> int:
    match block:
        case {"type": "image"}:
            return TOKENS_OF_IMAGE
        case {"type": "text", "text": str(text)}:
            return len(text.encode()) // BYTES_PER_TOKEN + 1
    return len(orjson.dumps(block)) // BYTES_PER_TOKEN + 1
