"""Where the process is between start and end, and whether its main loop still turns."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from enum import Enum

HEARTBEAT_SECONDS = 0.25
STALL_SECONDS = 5.0
"""A main loop without a heartbeat for this long is stuck: no stage of ours holds it for more than milliseconds."""


class Phase(Enum):
    """The phases of a process, in order."""

    STARTING = "starting"
    SERVING = "serving"
    LAME_DUCK = "lame duck"
    DRAINING = "draining"


@dataclass
class Lifecycle:
    """Written by the main loop, read by the admin thread: single attributes, so no lock is needed."""

    phase: Phase = Phase.STARTING
    started_at: float = field(default_factory=time.monotonic)
    heartbeat: float = field(default_factory=time.monotonic)

    @property
    def started(self) -> bool:
        """Whether the server has ever been ready."""
        return self.phase is not Phase.STARTING

    @property
    def leaving(self) -> bool:
        """Whether the process has been told to end."""
        return self.phase in {Phase.LAME_DUCK, Phase.DRAINING}

    def stalled_seconds(self) -> float:
        """Seconds for which the main loop has not turned; 0 while that is no longer than usual."""
        silence = time.monotonic() - self.heartbeat
        return silence if silence > STALL_SECONDS else 0.0

    async def beat(self) -> None:
        """Show again and again that the loop turns, until cancelled."""
        while True:
            self.heartbeat = time.monotonic()
            await asyncio.sleep(HEARTBEAT_SECONDS)
