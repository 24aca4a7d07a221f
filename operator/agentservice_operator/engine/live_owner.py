"""Whether an AgentService that children are to be made for is still there."""

from __future__ import annotations

import asyncio

from agentservice_operator.engine.cache import Service
from agentservice_operator.engine.kinds import AGENT_SERVICE
from agentservice_operator.engine.ports import Kubernetes


class OwnerGone(Exception):  # noqa: N818 - a state of the cluster, not an error of ours
    """The AgentService no longer exists, although its deletion has not been seen yet: nothing may be created for it."""


class LiveOwner:
    """An AgentService as the API server has it, looked at before the first child of a wave is made; never at rest.

    A lost DELETED event must not make children that the garbage collector takes away again and again. So nothing is
    created without a look that shows the AgentService alive, and the children of one wave, which are made side by side,
    share it. That promises no less than a look for each: whatever the look, the AgentService may be deleted before the
    create arrives, and what is made then is collected once. The next wave and the next reconcile look again, and stop.
    """

    def __init__(self, kubernetes: Kubernetes, service: Service) -> None:
        self._kubernetes = kubernetes
        self._service = service
        self._asking = asyncio.Lock()
        self._alive = False

    async def require(self) -> None:
        """Return if the AgentService is alive; who comes while another one asks waits for that answer.

        Raises:
            OwnerGone: It no longer exists, or is on its way out.
            KubernetesError: The API server could not be asked.
        """
        async with self._asking:
            if self._alive:
                return
            service = self._service
            live = await self._kubernetes.get_metadata(AGENT_SERVICE, service.namespace, service.name)
            if live is None or live["metadata"]["uid"] != service.uid or "deletionTimestamp" in live["metadata"]:
                raise OwnerGone
            self._alive = True
