"""Conversations: what a store of them does, and the one that keeps them in a database."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import orjson
from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from agent_runtime.agent.model import Message
from agent_runtime.state.conversation_leases import HELD, ConversationLeases
from agent_runtime.state.database import Database, StateUnavailableError
from agent_runtime.state.retention import DELETED_AT_ONCE
from agent_runtime.state.schema import conversations, messages
from agent_runtime.state.sqlite import used_bytes

Messages = tuple[Message, ...]

MAX_CONVERSATION_BYTES = 512 * 1024
MEASURED_PER_LIMIT = 32
"""A database that has a limit is measured after each such part of it was written, and makes room for one at a time."""


class ConversationStore(Protocol):
    """A store of conversations, each of one principal and one agent.

    Its methods raise StateUnavailableError where the database fails; nothing is half-written then.
    """

    async def load(self, principal: str, agent: str, conversation_id: str) -> Messages | None:
        """The messages, user and assistant in turn; None where this principal and agent have no such conversation."""
        ...

    async def append(self, principal: str, agent: str, conversation_id: str, *messages: Message) -> None:
        """Add messages at the end; the first addition makes the conversation."""
        ...


class SqlConversations:
    """Conversations in a database.

    Args:
        database: where they are kept.
        leases: those of this process: without the one it took, nothing is added to a conversation.
        max_bytes: most bytes of the database; beyond, the least recently used conversations go. None: no limit.
        max_conversation_bytes: most bytes of messages in one; its oldest turns go first, a question with its answer,
            and its newest never.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        *,
        leases: ConversationLeases | None = None,
        max_bytes: int | None = None,
        max_conversation_bytes: int = MAX_CONVERSATION_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._leases = leases
        self._max_bytes = max_bytes
        self._max_conversation_bytes = max_conversation_bytes
        self._clock = clock
        self._unmeasured = max_bytes or 0  # what an earlier process left is measured at the first addition

    async def load(self, principal: str, agent: str, conversation_id: str) -> Messages | None:
        """See ConversationStore.load."""
        key = _key(principal, agent, conversation_id)
        rows = await self._database.run(lambda connection: connection.execute(_LOAD, key).all())
        if not rows:
            return None
        return tuple(message_of(*row) for row in rows if row.role is not None)

    async def append(self, principal: str, agent: str, conversation_id: str, *messages: Message) -> None:
        """See ConversationStore.append."""
        addition = self.addition(principal, agent, conversation_id, *messages)
        await self.make_room(await self._database.run(addition))

    def addition(
        self, principal: str, agent: str, conversation_id: str, *messages: Message
    ) -> Callable[[Connection], int]:
        """What adds messages, in a transaction that has more to do; returns the bytes for which to `make_room` then."""
        key = _key(principal, agent, conversation_id)
        lease = self._leases.token((principal, conversation_id)) if self._leases is not None else None
        rows = [_row(key, message) for message in messages]
        added = sum(len(row["content"].encode()) for row in rows)
        change = {"now": round(self._clock() * 1000), "added": added, "count": len(messages)}

        def work(connection: Connection) -> int:
            row = _grow(connection, key | change, lease)
            if row is None:
                connection.execute(_BEGIN, key | change)
            size, end = row or (added, len(messages))
            if rows:
                start = end - len(rows)
                connection.execute(_ADD, [row | {"position": start + i} for i, row in enumerate(rows)])
            if size > self._max_conversation_bytes:
                _trim(connection, key, size, self._max_conversation_bytes)
            return added

        return work

    async def make_room(self, added: int) -> None:
        """Let the least recently used conversations go, where `added` bytes were too many."""
        limit = self._max_bytes
        if limit is None:
            return
        self._unmeasured += added
        if self._unmeasured < limit // MEASURED_PER_LIMIT:
            return
        self._unmeasured = 0
        part = limit // MEASURED_PER_LIMIT
        while await self._database.run(used_bytes) > limit:
            if not await self._database.run(lambda connection: _forget_oldest(connection, part)):
                return


_OF = (
    (conversations.c.id == bindparam("of_id"))
    & (conversations.c.principal == bindparam("of_principal"))
    & (conversations.c.agent == bindparam("of_agent"))
)
_LOAD = (
    select(messages.c.role, messages.c.content, messages.c.is_blocks)
    .select_from(conversations.outerjoin(messages))
    .where(_OF)
    .order_by(messages.c.position)
)
_GROW = (
    update(conversations)
    .where(_OF)
    .values(
        updated_at=bindparam("now"),
        bytes=conversations.c.bytes + bindparam("added"),
        next_position=conversations.c.next_position + bindparam("count"),
    )
    .returning(conversations.c.bytes, conversations.c.next_position)
)
_GROW_HELD = _GROW.where(HELD)
_HELD = select(HELD)
_BEGIN = insert(conversations).values(
    id=bindparam("of_id"),
    principal=bindparam("of_principal"),
    agent=bindparam("of_agent"),
    updated_at=bindparam("now"),
    bytes=bindparam("added"),
    next_position=bindparam("count"),
)
_ADD = insert(messages)


def _key(principal: str, agent: str, conversation_id: str) -> dict[str, Any]:
    return {"of_id": conversation_id, "of_principal": principal, "of_agent": agent}


def _row(key: dict[str, Any], message: Message) -> dict[str, Any]:
    content = message.content
    if isinstance(content, str) and "\0" in content:  # PostgreSQL's text cannot hold it, JSON's escape can
        content = ({"type": "text", "text": content},)
    is_blocks = not isinstance(content, str)
    stored = orjson.dumps(content).decode() if is_blocks else content
    return {"conversation_id": key["of_id"], "role": message.role, "content": stored, "is_blocks": is_blocks}


def message_of(role: Literal["user", "assistant"], content: str, is_blocks: bool) -> Message:  # noqa: FBT001 - a row
    """The message of a row."""
    return Message(role, tuple(orjson.loads(content)) if is_blocks else content)


def _grow(connection: Connection, change: dict[str, Any], lease: str | None) -> Row[int, int] | None:
    """Bytes and next position of a conversation that grows; None where there is none."""
    if lease is None:
        return connection.execute(_GROW, change).one_or_none()
    held = change | {"of_token": lease}
    row = connection.execute(_GROW_HELD, held).one_or_none()
    if row is None and not connection.execute(_HELD, held).scalar():
        raise StateUnavailableError("another replica has taken the conversation over")
    return row


def _trim(connection: Connection, key: dict[str, Any], size: int, limit: int) -> None:
    """Delete the oldest turns of a conversation of `size` bytes until it is within `limit`, or has only its newest."""
    of_conversation = messages.c.conversation_id == key["of_id"]
    rows = connection.execute(select(messages).where(of_conversation).order_by(messages.c.position)).all()
    begins = {row.position for row in rows if message_of(row.role, row.content, row.is_blocks).begins_turn}
    newest = max(begins)
    kept_from = rows[0].position
    for row in rows:
        if row.position == newest or (size <= limit and row.position in begins):
            break
        size -= len(row.content.encode())
        kept_from = row.position + 1
    connection.execute(delete(messages).where(of_conversation, messages.c.position < kept_from))
    connection.execute(update(conversations).where(conversations.c.id == key["of_id"]).values(bytes=size))


def _forget_oldest(connection: Connection, size: int) -> int:
    """Delete the least recently used conversations, of so many bytes of messages together; returns how many."""
    rows = select(conversations.c.id, conversations.c.bytes).order_by(conversations.c.updated_at).limit(DELETED_AT_ONCE)
    chosen: list[str] = []
    for of_id, of_bytes in connection.execute(rows):
        chosen.append(of_id)
        size -= of_bytes
        if size <= 0:
            break
    return connection.execute(delete(conversations).where(conversations.c.id.in_(chosen))).rowcount
