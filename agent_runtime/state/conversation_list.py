"""The conversations of a principal, as it may see and delete them, whatever the agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import delete, select, tuple_

from agent_runtime.state.conversations import Messages, message_of
from agent_runtime.state.database import Database
from agent_runtime.state.schema import conversations, messages


class Place(NamedTuple):
    """Where a conversation stands in the list of its principal: the one used last is the first."""

    updated_at: int
    """Milliseconds since 1970."""
    id: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a list says of a conversation."""

    place: Place
    agent: str


class ConversationList:
    """See the module. Its methods raise StateUnavailableError where the database fails.

    Args:
        database: where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, principal: str, *, after: Place | None, limit: int) -> tuple[list[Conversation], bool]:
        """The next conversations after a place, the one used last first.

        Returns:
            At most `limit` of them; and whether there are more.
        """
        table = conversations.c
        wanted = select(table.updated_at, table.id, table.agent).where(table.principal == principal)
        if after is not None:
            wanted = wanted.where(tuple_(table.updated_at, table.id) < tuple_(*after))
        wanted = wanted.order_by(table.updated_at.desc(), table.id.desc()).limit(limit + 1)
        rows = await self._database.run(lambda connection: connection.execute(wanted).all())
        return [Conversation(Place(row[0], row[1]), row[2]) for row in rows[:limit]], len(rows) > limit

    async def read(self, principal: str, conversation_id: str) -> tuple[Conversation, Messages] | None:
        """A conversation with all its messages; None where the principal has none of this id."""
        table = conversations.c
        mine = (table.id == conversation_id) & (table.principal == principal)
        wanted = (
            select(table.updated_at, table.agent, messages.c.role, messages.c.content, messages.c.is_blocks)
            .select_from(conversations.outerjoin(messages))
            .where(mine)
            .order_by(messages.c.position)
        )
        rows = await self._database.run(lambda connection: connection.execute(wanted).all())
        if not rows:
            return None
        conversation = Conversation(Place(rows[0].updated_at, conversation_id), rows[0].agent)
        return conversation, tuple(message_of(*row[2:]) for row in rows if row.role is not None)

    async def delete(self, principal: str, conversation_id: str) -> bool:
        """Delete a conversation; whether the principal had one of this id."""
        mine = (conversations.c.id == conversation_id) & (conversations.c.principal == principal)
        gone = delete(conversations).where(mine)
        return await self._database.run(lambda connection: connection.execute(gone).rowcount) > 0
