"""How a pod leaves without losing a request: who waits, and how long."""

from __future__ import annotations

from dataclasses import dataclass

from agentservice_operator.api.v1alpha1.types import AgentService

SETTLE_SECONDS = 10
"""What is left after the last request to settle accounts, flush and exit."""


@dataclass(frozen=True, slots=True)
class Drain:
    """The seconds that a leaving pod spends in each phase.

    Args:
        sleep: In the preStop hook: the pod serves and is still ready while proxies and load balancers take it out.
        lame_duck: After SIGTERM: it serves, is not ready, and tells each client to close its connection.
        drain: It accepts no connection and finishes what it has begun.
    """

    sleep: int
    lame_duck: int
    drain: int

    @property
    def grace(self) -> int:
        """Of a server, its terminationGracePeriodSeconds: lameDuckSeconds + drainSeconds + 10."""
        return self.sleep + self.lame_duck + self.drain + SETTLE_SECONDS

    @property
    def worker_grace(self) -> int:
        """Of a worker, to which nobody connects: drainSeconds for its tasks, and 10 to hand back those that remain."""
        return self.drain + SETTLE_SECONDS


def drain(service: AgentService) -> Drain:
    """The phases for a spec; ``lameDuckSeconds`` is shared by hook and runtime, so nobody waits for it twice."""
    runtime = service.spec.runtime
    sleep = runtime.lame_duck_seconds // 2
    return Drain(
        sleep=sleep,
        lame_duck=runtime.lame_duck_seconds - sleep,
        drain=service.spec.request_timeout_seconds if runtime.drain_seconds is None else runtime.drain_seconds,
    )
