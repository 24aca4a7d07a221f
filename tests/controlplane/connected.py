"""The operator's own client on a test cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.transport import connect


@asynccontextmanager
async def connected(kubeconfig: Path, **options: Any) -> AsyncIterator[KubeClient]:
    api_client = await connect(user_agent="agentservice-test", kubeconfig=str(kubeconfig))
    try:
        yield KubeClient(api_client, **options)
    finally:
        await api_client.close()  # type: ignore[no-untyped-call] # the package is typed in part
