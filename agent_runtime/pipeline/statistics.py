"""Stage: what each agent has done since the process began, for those who ask for it over HTTP.

The metrics say the same to Prometheus; this is for callers, who have no Prometheus.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from agent_runtime.agent.model import Usage
from agent_runtime.api.errors import ProblemError
from agent_runtime.cost import usd
from agent_runtime.pipeline.context import RequestContext
from agent_runtime.pipeline.interruption import ClientGoneError
from agent_runtime.pipeline.turn import ApprovalNeeded, Emit, Handler, Turn, TurnResult

WINDOW = 200
"""Latest turns of an agent, of which times and the share of errors are told."""
DEGRADED_SHARE = 0.1
"""An agent with more errors than this among its latest turns is degraded."""
FEWEST_TURNS = 10
"""Fewer say nothing about a share."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What an agent has done in some time."""

    requests: int = 0
    errors: int = 0
    usage: Usage = field(default_factory=Usage)
    microdollars: int = 0
    unpriced: int = 0
    """Answers of models without a price, which are not in `microdollars`."""
    milliseconds: Sequence[float] = ()
    """Times of the latest ones, `WINDOW` at most."""

    def document(self) -> dict[str, Any]:
        """As callers see it; times are milliseconds, None while there are none."""
        times = self.milliseconds
        return {
            "requests": self.requests,
            "errors": self.errors,
            "mean_ms": round(statistics.fmean(times), 1) if times else None,
            "p95_ms": round(_percentile(times, 95), 1) if times else None,
            "tokens": self.usage.document(),
            "cost_usd": usd(self.microdollars),
            "unpriced_answers": self.unpriced,
        }


@dataclass(slots=True)
class AgentStatistics:
    """The turns of one agent."""

    requests: int = 0
    errors: int = 0
    """Turns that failed through us or the provider; not those that were refused for what the caller sent."""
    usage: Usage = field(default_factory=Usage)
    microdollars: int = 0
    unpriced: int = 0
    _latest: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def add(self, seconds: float, context: RequestContext, *, failed: bool) -> None:
        """Note a turn that took `seconds`."""
        self.requests += 1
        self.errors += failed
        self._latest.append((seconds, failed))
        if context.usage is not None:
            self.usage += context.usage
            self.microdollars += context.cost_microdollars or 0
            self.unpriced += context.cost_microdollars is None

    @property
    def error_share(self) -> float:
        """Of the latest turns, from 0 to 1; 0 while they are too few."""
        if len(self._latest) < FEWEST_TURNS:
            return 0.0
        return sum(failed for _, failed in self._latest) / len(self._latest)

    @property
    def degraded(self) -> bool:
        """Whether too many of the latest turns failed."""
        return self.error_share > DEGRADED_SHARE

    @property
    def figures(self) -> Figures:
        """Those until now."""
        times = [1000 * seconds for seconds, _ in self._latest]
        return Figures(self.requests, self.errors, self.usage, self.microdollars, self.unpriced, times)


class Statistics:
    """The turns of all agents.

    Args:
        agents: their names.
    """

    def __init__(self, agents: Iterable[str]) -> None:
        self.since = datetime.now(UTC)
        self.of = {name: AgentStatistics() for name in agents}

    def __call__(self, handler: Handler) -> Handler:
        """The stage."""

        async def stage(turn: Turn, emit: Emit) -> TurnResult:
            began = time.monotonic()
            failed = True
            try:
                result = await handler(turn, emit)
                failed = False
            except ProblemError as problem:
                failed = problem.kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR
                raise
            except (ApprovalNeeded, ClientGoneError, asyncio.CancelledError):
                failed = False
                raise
            else:
                return result
            finally:
                self.of[turn.agent.name].add(time.monotonic() - began, turn.context, failed=failed)

        return stage


def _percentile(values: Sequence[float], percent: int) -> float:
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
