from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from agentservice_operator.kube.client import KubeClient

from tests.unit.kube.scripted_server import ScriptedServer, scripted_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kubernetes.aio.client import ApiClient


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
