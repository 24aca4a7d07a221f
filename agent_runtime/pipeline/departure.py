"""The leaving of a caller, watched once per request however many turns it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from starlette.types import Receive


class Departure:
    """Watches a caller, as long as its block runs.

    Args:
        receive: of the request, whose body has been read: what comes next tells that the caller has left.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watcher: asyncio.Task[None] | None = None
        self._followers: set[Callable[[], None]] = set()
        self._gone = False

    async def __aenter__(self) -> Self:
        """Begin to watch."""
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Watch no longer."""
        if self._watcher is not None:
            self._watcher.cancel()

    @contextmanager
    def told_to(self, follower: Callable[[], None]) -> Iterator[None]:
        """Call `follower` once when the caller leaves while the block runs, or at once where it has left before."""
        self._followers.add(follower)
        try:
            if self._gone:
                follower()
            yield
        finally:
            self._followers.discard(follower)

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        for follower in tuple(self._followers):
            follower()
