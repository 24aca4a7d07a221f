"""The database of a runtime, whatever engine is behind it.

What is done in it are plain functions of a SQLAlchemy connection, of statements that every engine understands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection

T = TypeVar("T")


class StateUnavailableError(Exception):
    """The database does not do what it was asked; the message is the reason in a few words, without paths."""


class Database(Protocol):
    """A database that is open and has the newest schema."""

    shared: bool
    """Whether other processes use it at the same time."""

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in a transaction; once begun it is brought to its end, even if the caller is cancelled.

        It may be begun again, from nothing, where the first connection turns out to be lost.

        Raises:
            StateUnavailableError: the database fails; nothing of `work` is kept.
        """
        ...

    async def aclose(self) -> None:
        """Finish what has begun, and let go of files and connections."""
        ...
