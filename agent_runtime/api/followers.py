"""Callers who follow a run or a task by its events: connections that may last for hours, and cost memory as long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from agent_runtime.api.errors import OVERLOADED, TOO_MANY_FOLLOWERS, ProblemError

MOST = 1000
"""In one process: what its memory is measured for."""
MOST_OF_ONE = 500
"""Of one principal, so that it leaves room for others; a backend follows for all of its users."""
RETRY_AFTER_SECONDS = 5


class Followers:
    """Those of this process."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @contextmanager
    def place(self, principal: str) -> Iterator[None]:
        """Room for a follower, as long as the block runs.

        Raises:
            ProblemError: there is none.
        """
        if self._of[principal] >= MOST_OF_ONE:
            detail = f"{MOST_OF_ONE} connections of yours follow runs and tasks here; end one."
            raise ProblemError(TOO_MANY_FOLLOWERS, detail, retry_after=RETRY_AFTER_SECONDS)
        if self._of.total() >= MOST:
            detail = f"{MOST} connections follow runs and tasks here."
            raise ProblemError(OVERLOADED, detail, retry_after=RETRY_AFTER_SECONDS)
        self._of[principal] += 1
        try:
            yield
        finally:
            self._of[principal] -= 1
            if not self._of[principal]:
                del self._of[principal]
