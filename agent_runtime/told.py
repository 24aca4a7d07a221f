"""The signals that tell a process to end."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress


class Told:
    """The signals that came, from the moment on at which this is made.

    SIGTERM is Kubernetes: other replicas' callers still come for a moment, and are served. SIGINT is a person at a
    terminal: nobody else will come.
    """

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.by_terminal = False
        self._again = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.first.is_set():
            self._again.set()
        self.by_terminal = self.by_terminal or number == signal.SIGINT
        self.first.set()

    async def again_within(self, seconds: float) -> None:
        """Return after `seconds`, or at once when a second signal has come."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._again.wait()
