from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from agentservice_operator.kube.client import KubeClient
from kubernetes.aio.client import ApiClient

from tests.unit.kube.scripted_server import ScriptedServer, scripted_server


@pytest.fixture
async def wired() -> AsyncIterator[tuple[ScriptedServer, ApiClient]]:
    async with scripted_server() as pair:
        yield pair


@pytest.fixture
def server(wired: tuple[ScriptedServer, ApiClient]) -> ScriptedServer:
    return wired[0]


@pytest.fixture
def api_client(wired: tuple[ScriptedServer, ApiClient]) -> ApiClient:
    return wired[1]


@pytest.fixture
def client(api_client: ApiClient) -> KubeClient:
    return KubeClient(api_client)
