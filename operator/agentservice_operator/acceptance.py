"""What ``helm test`` runs: an agent is made, gets Ready, and goes again; nothing of it is left behind.

python -m agentservice_operator.acceptance NAMESPACE
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from agentservice_operator.api.v1alpha1.types import API_VERSION
from agentservice_operator.engine.kinds import AGENT_SERVICE
from agentservice_operator.engine.ports import KubernetesError, Object
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.transport import connect

READY_SECONDS = 180.0
"""Longer than a node needs to pull the runtime's image."""
GONE_SECONDS = 30.0
LOOK_SECONDS = 1.0
_MANAGER = "helm-test"


class NotAcceptedError(Exception):
    """The installation does not do what it should; the message says what was seen last."""


async def accept(kubernetes: KubeClient, namespace: str, *, say: Callable[[str], None]) -> None:
    """Make an agent in ``namespace``, wait until it is Ready, and delete it, also where it does not get there.

    Raises:
        NotAcceptedError: it did not get Ready, or did not go.
        KubernetesError: the API server refused.
    """
    name = f"helm-test-{secrets.token_hex(4)}"
    made = await kubernetes.create(AGENT_SERVICE, _smallest(namespace, name), manager=_MANAGER)
    say(f"agentservice/{name} is made in namespace {namespace}")
    try:
        await _until_ready(kubernetes, namespace, name, say)
        say(f"agentservice/{name} is Ready")
    finally:
        # Also when this is told to end: the grace period of the pod is long enough for it.
        await kubernetes.delete(AGENT_SERVICE, namespace, name, uid=made["metadata"]["uid"])
    await _until_gone(kubernetes, namespace, name)
    say(f"agentservice/{name} is gone")


def _smallest(namespace: str, name: str) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": AGENT_SERVICE.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "models": [{"name": "main", "provider": "Echo"}],
            "agents": [{"name": "assistant", "systemPrompt": "You are a helpful assistant."}],
        },
    }


async def _until_ready(kubernetes: KubeClient, namespace: str, name: str, say: Callable[[str], None]) -> None:
    said = ""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        service = await kubernetes.get(AGENT_SERVICE, namespace, name)
        if service is None:
            raise NotAcceptedError(f"agentservice/{name} was deleted by somebody else")
        ready = _ready(service)
        if ready.get("status") == "True":
            return
        if (seen := f"{ready.get('reason', 'no condition yet')}: {ready.get('message', '')}") != said:
            say(seen)
            said = seen
        await asyncio.sleep(LOOK_SECONDS)
    raise NotAcceptedError(f"agentservice/{name} is not Ready after {READY_SECONDS:.0f} s: {said}")


def _ready(service: Object) -> Object:
    conditions: list[Object] = (service.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})


async def _until_gone(kubernetes: KubeClient, namespace: str, name: str) -> None:
    end = time.monotonic() + GONE_SECONDS
    while await kubernetes.get(AGENT_SERVICE, namespace, name) is not None:
        if time.monotonic() > end:
            raise NotAcceptedError(f"agentservice/{name} is still there {GONE_SECONDS:.0f} s after its deletion")
        await asyncio.sleep(LOOK_SECONDS)


async def _run(namespace: str) -> int:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    api_client = await connect(user_agent="agentservice-operator-test")
    try:
        await accept(KubeClient(api_client), namespace, say=_say)
    except (NotAcceptedError, KubernetesError) as error:
        _say(str(error))
        return 1
    finally:
        await api_client.close()  # type: ignore[no-untyped-call] # the package is typed in part
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with suppress(asyncio.CancelledError):
        sys.exit(asyncio.run(_run(sys.argv[1])))
    sys.exit(1)
