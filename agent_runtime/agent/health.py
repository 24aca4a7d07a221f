"""How each model's provider does, from the calls that were made: what ``/statusz`` tells the operator."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from agent_runtime.api.errors import (
    UPSTREAM_INTERRUPTED,
    UPSTREAM_MODEL_NOT_FOUND,
    UPSTREAM_OVERLOADED,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNAUTHORIZED,
    UPSTREAM_UNAVAILABLE,
    ProblemKind,
)

FAILURES_IN_A_ROW = 3
"""Tries without one that succeeds in between: fewer happen at every provider on every day."""
_AT_ONCE = frozenset({UPSTREAM_UNAUTHORIZED, UPSTREAM_MODEL_NOT_FOUND})
"""What no further try mends."""
_FAULTS = _AT_ONCE | {UPSTREAM_INTERRUPTED, UPSTREAM_OVERLOADED, UPSTREAM_TIMEOUT, UPSTREAM_UNAVAILABLE}
"""What speaks of the provider. A refused request speaks of the request, and so of its caller."""


class Health(StrEnum):
    """What the calls so far say of a provider."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of one model; immutable, so that another thread may read it at any time."""

    health: Health = Health.UNKNOWN
    failures: int = 0
    """Tries that failed since the last one that succeeded."""
    code: str | None = None
    """Of the latest failure, while failing."""
    seen_at: float = 0.0
    """Monotonic time of the latest try that said something."""


class ModelHealth:
    """Follows the tries of one model.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.now = Observation()

    def succeeded(self) -> None:
        """A try was answered."""
        self.now = Observation(Health.HEALTHY, seen_at=self._clock())

    def failed(self, kind: ProblemKind) -> None:
        """A try failed."""
        if kind not in _FAULTS:
            return
        failures = self.now.failures + 1
        if kind in _AT_ONCE or failures >= FAILURES_IN_A_ROW:
            self.now = Observation(Health.FAILING, failures, kind.code, self._clock())
        else:
            self.now = replace(self.now, failures=failures, seen_at=self._clock())

    def document(self) -> dict[str, object]:
        """As ``/statusz`` shows it."""
        now = self.now
        if now.health is Health.UNKNOWN:
            return {"health": now.health.value}
        shown: dict[str, object] = {"health": now.health.value, "age_seconds": round(self._clock() - now.seen_at, 3)}
        return shown if now.code is None else {**shown, "code": now.code}
