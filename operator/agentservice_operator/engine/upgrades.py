"""How many AgentServices are upgraded side by side, and who is next.

Everything is counted anew from the caches whenever it is asked; only what this process has just begun, and what the
caches may not show yet, is remembered beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentservice_operator.engine.cache import Caches, Service, Wake
from agentservice_operator.engine.kinds import ServiceKey
from agentservice_operator.engine.queue import Priority
from agentservice_operator.status.upgrades import holds_slot, is_serving, waits, waits_since


@dataclass(frozen=True, slots=True)
class Limit:
    """How many at a time: a number, or a share of all AgentServices.

    Args:
        text: ``3``, or ``10%``.
    """

    text: str

    def of(self, services: int) -> int:
        """The number among so many, rounded down as a Deployment's maxUnavailable is, but never below 1."""
        if self.text.endswith("%"):
            return max(1, services * int(self.text.removesuffix("%")) // 100)
        return int(self.text)


class Upgrades:
    """The turns of an operator's upgrades."""

    def __init__(self, caches: Caches, limit: Limit, wake: Wake) -> None:
        self.limit = limit
        self._caches = caches
        self._wake = wake
        self._begun: set[ServiceKey] = set()
        """Given a turn, and not yet known to be written or not to be."""

    def take(self, service: Service) -> bool:
        """Give an AgentService its turn if there is one left; who has one, or had one and is not Ready, keeps it.

        Those that serve go first: one that does not may wait for its author.
        """
        if self.holds(service):
            return True
        others = [each for each in self._caches.services if each.service != service.service]
        if sum(self.holds(each) for each in others) >= self.limit.of(len(others) + 1):
            return False
        if not is_serving(service.status) and any(waits(each.status) and is_serving(each.status) for each in others):
            return False
        self._begun.add(service.service)
        return True

    def holds(self, service: Service) -> bool:
        """Whether an AgentService is being upgraded."""
        if service.service in self._begun:
            return True
        live = {facts.revision for facts in self._caches.deployments(service)}
        return bool(live) and not service.deleting and holds_slot(service.status, live)

    def known(self, key: ServiceKey) -> None:
        """The caches show what has come of the turn that an AgentService was given."""
        self._begun.discard(key)

    def forget(self, key: ServiceKey) -> None:
        """The AgentService is gone, and with it the turn that it may have had."""
        self._begun.discard(key)
        self.wake_next()

    def wake_next(self) -> None:
        """Look at those that waited longest, as many as there are turns left."""
        services = list(self._caches.services)
        left = self.limit.of(len(services)) - sum(self.holds(each) for each in services)
        line = sorted((each for each in services if waits(each.status)), key=_place)
        for each in line[: max(0, left)]:
            self._wake(each.service, Priority.STARTUP)


def _place(service: Service) -> tuple[bool, str, ServiceKey]:
    return not is_serving(service.status), waits_since(service.status), service.service
