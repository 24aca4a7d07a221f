"""Where an answer has its facts from, as the provider says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent_runtime.agent.model import Block, Message
from agent_runtime.pipeline.turn import Source


def sources_of(messages: Iterable[Message]) -> tuple[Source, ...]:
    """The pages that answers cite, each once, in order; those that were found, where none is cited."""
    blocks = [
        block
        for message in messages
        if message.role == "assistant" and not isinstance(message.content, str)
        for block in message.content
    ]
    return tuple(dict.fromkeys(_cited(blocks))) or tuple(dict.fromkeys(_found(blocks)))


def _cited(blocks: Iterable[Block]) -> Iterator[Source]:
    for block in blocks:
        for citation in block.get("citations") or ():
            yield from _source(citation)


def _found(blocks: Iterable[Block]) -> Iterator[Source]:
    for block in blocks:
        # Where the search failed, its content is one object that says so.
        if block["type"] == "web_search_tool_result" and isinstance(block["content"], list):
            for result in block["content"]:
                yield from _source(result)


def _source(raw: object) -> Iterator[Source]:
    match raw:
        case {"url": str(url), "title": str(title)}:
            yield Source(url, title)
        case {"url": str(url)}:
            yield Source(url, url)
