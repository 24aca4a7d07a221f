"""The operator's own client on a test cluster."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.transport import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def connected(kubeconfig: Path, **options: Any) -> AsyncIterator[KubeClient]:
    api_client = await connect(user_agent="agentservice-test", kubeconfig=str(kubeconfig))
    try:
        yield KubeClient(api_client, **options)
    finally:
        await api_client.close()  # type: ignore[no-untyped-call] # the package is typed in part
