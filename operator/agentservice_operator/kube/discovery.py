"""What this API server is and has."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from agentservice_operator.engine.kinds import Kind
from agentservice_operator.engine.ports import Object
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.errors import NotFound
from agentservice_operator.kube.retry import with_retries
from agentservice_operator.kube.transport import Request


@dataclass(frozen=True, slots=True, order=True)
class ServerVersion:
    """The version of Kubernetes, such as 1.34; orders by release."""

    major: int
    minor: int
    git: str
    """In full, as the server puts it: ``v1.34.4``, ``v1.33.5-eks-113cf36``."""


async def server_version(client: KubeClient) -> ServerVersion:
    """Ask for the version of the API server."""
    answer = await _read(client, "/version")
    digits = {name: "".join(filter(str.isdigit, answer[name])) for name in ("major", "minor")}  # GKE says "34+"
    return ServerVersion(int(digits["major"]), int(digits["minor"]), answer["gitVersion"])


async def available(client: KubeClient, kinds: Iterable[Kind]) -> frozenset[Kind]:
    """Return those of ``kinds`` that the API server has, asking once per group and version.

    Raises:
        KubernetesError: it could not be found out, for instance because an aggregated API server is down.
    """
    wanted = list(kinds)
    versions = sorted({kind.api_version for kind in wanted})
    served = dict(zip(versions, await asyncio.gather(*(_plurals(client, name) for name in versions)), strict=True))
    return frozenset(kind for kind in wanted if kind.plural in served[kind.api_version])


async def _plurals(client: KubeClient, api_version: str) -> frozenset[str]:
    root = "/apis/" if "/" in api_version else "/api/"
    try:
        answer = await _read(client, root + api_version)
    except NotFound:
        return frozenset()
    return frozenset(resource["name"] for resource in answer["resources"])


async def _read(client: KubeClient, path: str) -> Object:
    request = Request("discover", path, "GET", path)
    answer: Object = orjson.loads(await with_retries(lambda: client.transport.send(request)))
    return answer
