"""A clock that stands still until a test moves it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Seconds, as ``time.monotonic`` counts them."""

    now: float = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now
