"""Word that something has changed in the database, so that those who wait for it look at once.

Who misses it loses only time: everybody also looks without it, again and again.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from agent_runtime.config import RuntimeConfig

QUEUE = "queue"
"""There is something to claim."""
LEASES = "leases"
"""A lease was ended by somebody else than its holder."""
POLL_SECONDS = 1.0
"""Between two looks of those whom others change things for without a word."""
IDLE_SECONDS = 10.0
"""Between two looks of those who are told."""


class BellError(Exception):
    """Other processes are not told now; the message is the reason in a few words, without the URL."""


class Bell:
    """Wakes who listens in this process.

    Args:
        shared: whether other processes use the database, too, of whom nothing is heard.
    """

    def __init__(self, *, shared: bool) -> None:
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._shared = shared

    @property
    def pause(self) -> float:
        """Seconds until whoever listens looks without having been told."""
        return POLL_SECONDS if self._shared else IDLE_SECONDS

    def ring(self, topic: str) -> None:
        """Tell all who listen to `topic`: QUEUE, LEASES, or the id of a task in which something happened."""
        self.wake(topic)

    def wake(self, topic: str) -> None:
        """Wake those of this process who listen to `topic`."""
        for heard in self._listeners.get(topic, ()):
            heard.set()

    def wake_all(self) -> None:
        """Wake everybody in this process: what has happened is not known."""
        for topic in self._listeners:
            self.wake(topic)

    @contextmanager
    def listening(self, topic: str) -> Iterator[asyncio.Event]:
        """An event that is set at each ring from now on; who has looked clears it before the next look."""
        heard = asyncio.Event()
        self._listeners.setdefault(topic, set()).add(heard)
        try:
            yield heard
        finally:
            self._listeners[topic].discard(heard)
            if not self._listeners[topic]:
                del self._listeners[topic]

    async def ping(self) -> bool:
        """Have the server answer by which others are told; False where there is none.

        Raises:
            BellError: it does not.
        """
        return False

    async def keep(self) -> None:
        """Keep up what tells others, until cancelled; here there is nothing."""


async def open_bell(config: RuntimeConfig, *, shared: bool) -> Bell:
    """The bell of the service, which other processes hear where there is a Redis.

    Raises:
        ConfigurationError: the Redis can never be used; the message names the file and the remedy.
    """
    if config.state.redis_url_file is None:
        return Bell(shared=shared)
    # Imported where it is needed, and beside the loop, which goes on beating.
    module = await asyncio.to_thread(importlib.import_module, "agent_runtime.tasks.redis_bell")
    bell: Bell = module.redis_bell(config)
    return bell


async def heard_within(heard: asyncio.Event, seconds: float) -> None:
    """Return when `heard` is set, or after so many seconds, with `heard` cleared."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await heard.wait()
    heard.clear()
