"""Conversations: what a store of them does, and the one that keeps them in the memory of this process."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from agent_runtime.agent.model import Message

Messages = tuple[Message, ...]


class Conversations(Protocol):
    """A store of conversations, each of one principal and one agent."""

    async def load(self, principal: str, agent: str, conversation_id: str) -> Messages | None:
        """The messages, user and assistant in turn; None where this principal and agent have no such conversation."""
        ...

    async def append(self, principal: str, agent: str, conversation_id: str, *messages: Message) -> None:
        """Add messages at the end; the first addition makes the conversation."""
        ...


class MemoryConversations:
    """Conversations that end with the process, bounded in number and size; the least recently used ones go first.

    Args:
        max_conversations: most conversations.
        max_bytes: most bytes of text in all of them.
        max_conversation_bytes: most bytes of text in one; its oldest turns go first, a question always with its answer.
    """

    def __init__(
        self,
        *,
        max_conversations: int = 10_000,
        max_bytes: int = 32 * 1024 * 1024,
        max_conversation_bytes: int = 512 * 1024,
    ) -> None:
        self._max_conversations = max_conversations
        self._max_bytes = max_bytes
        self._max_conversation_bytes = max_conversation_bytes
        self._conversations: OrderedDict[tuple[str, str, str], Messages] = OrderedDict()
        self._bytes = 0

    async def load(self, principal: str, agent: str, conversation_id: str) -> Messages | None:
        """See Conversations.load."""
        key = (principal, agent, conversation_id)
        if (messages := self._conversations.get(key)) is not None:
            self._conversations.move_to_end(key)
        return messages

    async def append(self, principal: str, agent: str, conversation_id: str, *messages: Message) -> None:
        """See Conversations.append."""
        key = (principal, agent, conversation_id)
        before = self._conversations.pop(key, ())
        after = self._trimmed(before + messages)
        self._conversations[key] = after
        self._bytes += _size(after) - _size(before)
        while len(self._conversations) > self._max_conversations or self._bytes > self._max_bytes:
            _, dropped = self._conversations.popitem(last=False)
            self._bytes -= _size(dropped)

    def _trimmed(self, messages: Messages) -> Messages:
        size = _size(messages)
        while size > self._max_conversation_bytes and messages:
            turn = next((i for i, message in enumerate(messages) if i and message.role == "user"), len(messages))
            size -= _size(messages[:turn])
            messages = messages[turn:]
        return messages


def _size(messages: Messages) -> int:
    return sum(len(message.text.encode()) for message in messages)
