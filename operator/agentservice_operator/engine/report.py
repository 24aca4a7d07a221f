"""Writing status: only when it differs; counts alone, and the binding of a volume, at most every five seconds."""

from __future__ import annotations

import time
from collections.abc import Callable

from agentservice_operator.api.v1alpha1.conditions import ConditionType
from agentservice_operator.engine.cache import Caches, Service
from agentservice_operator.engine.kinds import AGENT_SERVICE, ServiceKey
from agentservice_operator.engine.ports import FIELD_MANAGER, Kubernetes, Object

COUNTS_EVERY_SECONDS = 5.0
_COUNTS = ("replicas", "readyReplicas")
_TYPES = frozenset(ConditionType)


class Reporter:
    """Writes the status of AgentServices."""

    def __init__(self, kubernetes: Kubernetes, caches: Caches, clock: Callable[[], float] = time.monotonic) -> None:
        self._kubernetes = kubernetes
        self._caches = caches
        self._clock = clock
        self._written: dict[ServiceKey, float] = {}

    async def report(self, service: Service, status: Object) -> float | None:
        """Write a status where it says something new; returns in how many seconds delayed counts should be written.

        Raises:
            KubernetesError: The API server refused or could not be reached.
        """
        reported = _ours(service.status)
        if status == reported:
            return None
        now = self._clock()
        since = now - self._written.get(service.service, -COUNTS_EVERY_SECONDS)
        if since < COUNTS_EVERY_SECONDS and _without_counts(status) == _without_counts(reported):
            return COUNTS_EVERY_SECONDS - since
        intent = {
            "apiVersion": AGENT_SERVICE.api_version,
            "kind": AGENT_SERVICE.kind,
            "metadata": {"name": service.name, "namespace": service.namespace, "uid": service.uid},
            "status": status,
        }
        live = await self._kubernetes.apply_status(AGENT_SERVICE, intent, manager=FIELD_MANAGER)
        self._caches.services.put_own(live)
        self._written[service.service] = now
        return None

    def forget(self, key: ServiceKey) -> None:
        """The AgentService is gone."""
        self._written.pop(key, None)


def _ours(status: Object) -> Object:
    """A status without the conditions that somebody else added: they are neither kept nor removed by us."""
    if "conditions" not in status:
        return status
    return {**status, "conditions": [entry for entry in status["conditions"] if entry["type"] in _TYPES]}


def _without_counts(status: Object) -> Object:
    """A status without what changes with every pod: the counts, the messages that repeat them, a volume's binding."""
    plain = {name: value for name, value in status.items() if name not in _COUNTS}
    plain["conditions"] = [
        {name: value for name, value in condition.items() if name != "message"}
        for condition in status.get("conditions") or ()
        if condition["type"] != ConditionType.VOLUME_BOUND
    ]
    return plain
