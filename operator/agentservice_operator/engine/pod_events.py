"""Asking for the Events of pods that are not ready and do not say why; seldom, few, and never waited for at rest."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import structlog

from agentservice_operator.engine.kinds import EVENT, ServiceKey
from agentservice_operator.engine.ports import Kubernetes, KubernetesError
from agentservice_operator.status.observed import PodFacts
from agentservice_operator.status.pod_events import Hint, hint
from agentservice_operator.status.problems import unexplained

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 5.0
"""A pod that becomes ready sooner is not asked about."""
START_SECONDS = 30.0
"""So long a startup probe may fail before that is worth a word."""
EVERY_SECONDS = (5.0, 60.0)
"""At least and at most, between two looks at one AgentService: half as long as its pod has not been ready."""
PER_SECOND = 5.0
"""Looks at all AgentServices together: the API server goes through all Events of a namespace for each."""
MOST_PODS = 3
MOST_EVENTS = 100
"""Of one pod. Kubernetes counts what repeats itself in one Event."""


class Heard(NamedTuple):
    """Pods with what their Events say."""

    pods: list[PodFacts]
    look_again_after: float | None
    """Seconds; None where there is nothing to ask."""


@dataclass(slots=True)
class _Doubts:
    """What is remembered of one AgentService while pods of it are not ready and do not say why."""

    since: dict[str, float] = field(default_factory=dict)
    """By uid, when they were first seen so."""
    hints: dict[str, Hint] = field(default_factory=dict)
    asked_at: float = 0.0
    wait: float = PATIENCE_SECONDS


class PodEvents:
    """Reads the Events of pods."""

    def __init__(self, kubernetes: Kubernetes, clock: Callable[[], float] = time.monotonic) -> None:
        self._kubernetes = kubernetes
        self._clock = clock
        self._doubts: dict[ServiceKey, _Doubts] = {}

    async def hear(self, key: ServiceKey, pods: Sequence[PodFacts]) -> Heard:
        """Add to the pods of an AgentService what their Events say; no answer adds nothing."""
        silent = [pod for pod in pods if unexplained(pod)]
        if not silent:
            self.forget(key)
            return Heard(list(pods), None)
        now = self._clock()
        doubts = self._doubts.setdefault(key, _Doubts(asked_at=now))
        doubts.since = {pod.uid: doubts.since.get(pod.uid, now) for pod in silent}
        doubts.hints = {uid: found for uid, found in doubts.hints.items() if uid in doubts.since}
        if now >= self._due(doubts):
            longest = sorted(silent, key=lambda pod: doubts.since[pod.uid])[:MOST_PODS]
            await self._ask(key, longest, doubts)
            at_least, at_most = EVERY_SECONDS
            doubts.wait = min(at_most, max(at_least, (now - doubts.since[longest[0].uid]) / 2))
            doubts.asked_at = now
        told = [replace(pod, hint=self._believed(doubts, pod, now)) for pod in pods]
        return Heard(told, max(0.0, self._due(doubts) - now))

    def forget(self, key: ServiceKey) -> None:
        """The AgentService is gone, or its pods are well."""
        self._doubts.pop(key, None)

    def _due(self, doubts: _Doubts) -> float:
        return doubts.asked_at + max(doubts.wait, len(self._doubts) / PER_SECOND)

    async def _ask(self, key: ServiceKey, pods: Sequence[PodFacts], doubts: _Doubts) -> None:
        for pod in pods:
            try:
                events = await self._kubernetes.find(
                    EVENT, key.namespace, field_selector=f"regarding.uid={pod.uid}", limit=MOST_EVENTS
                )
            except KubernetesError as error:
                log.info("Events cannot be read", namespace=key.namespace, name=key.name, error=str(error))
                return
            found = hint(events, pod.unready_since)
            if found is None:
                doubts.hints.pop(pod.uid, None)
            else:
                doubts.hints[pod.uid] = found

    def _believed(self, doubts: _Doubts, pod: PodFacts, now: float) -> Hint | None:
        found = doubts.hints.get(pod.uid)
        if found is not None and found.starting and now - doubts.since[pod.uid] < START_SECONDS:
            return None
        return found
