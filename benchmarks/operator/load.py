"""The load: AgentServices made at once, and an observer that sees their children appear."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import orjson
from agentservice_operator.api.v1alpha1.parse import parse
from agentservice_operator.builders.build import build
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.engine.kinds import AGENT_SERVICE, KIND_BY_NAME, Kind

from dev.cluster import Cluster
from tests.controlplane.agent_services import agent_service

Object = dict[str, Any]

IN_FLIGHT = 32
"""Requests at a time, of the load and of the floor; the operator's own limit is the same."""
DEADLINE = 600.0
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"


class Client:
    """The least that can talk to an API server: aiohttp and orjson, a fixed number of requests in flight."""

    def __init__(self, cluster: Cluster, *, in_flight: int = IN_FLIGHT) -> None:
        self._cluster = cluster
        self._places = asyncio.Semaphore(in_flight)

    async def __aenter__(self) -> Self:
        """Open it."""
        api = self._cluster.api
        connector = aiohttp.TCPConnector(ssl=api.tls, limit=0)
        self._session = aiohttp.ClientSession(api.server, headers=api.headers, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self._session.close()

    async def send(
        self, method: str, path: str, body: Object | None = None, *, media: str = "application/json", **query: str
    ) -> Object:
        """One request; an answer that is an error ends the benchmark."""
        data = None if body is None else orjson.dumps(body)
        async with (
            self._places,
            self._session.request(method, path, data=data, headers={"Content-Type": media}, params=query) as response,
        ):
            raw = await response.read()
            if not response.ok:
                raise RuntimeError(f"{method} {path}: {response.status} {raw[:500]!r}")
            answer: Object = orjson.loads(raw)
            return answer

    async def apply(self, kind: Kind, intent: Object) -> Object:
        """Apply an object as the operator does."""
        meta = intent["metadata"]
        path = kind.path(meta["namespace"], meta["name"])
        return await self.send("PATCH", path, intent, media=_APPLY, fieldManager="floor", force="true")

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Object) -> Object:
        """Merge a patch into an object."""
        return await self.send("PATCH", kind.path(namespace, name), patch, media=_MERGE)

    @asynccontextmanager
    async def watch(self, kind: Kind, namespace: str) -> AsyncIterator[AsyncIterator[Object]]:
        """The metadata of a kind's objects from now on."""
        listed = await self.send("GET", kind.path(namespace), limit="1")
        query = {"watch": "true", "resourceVersion": listed["metadata"]["resourceVersion"]}
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(
            kind.path(namespace), params=query, headers={"Accept": _METADATA}, timeout=timeout
        ) as response:
            response.raise_for_status()
            yield _events(response.content)


async def _events(stream: aiohttp.StreamReader) -> AsyncIterator[Object]:
    async for line in stream:
        event: Object = orjson.loads(line)
        yield event


@dataclass
class Seen:
    """What an observer saw of children: when each came, and each change of its generation."""

    counts: Counter[str] = field(default_factory=Counter)
    times: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, kind: Kind, event: Object) -> None:
        """Take over an event."""
        if event["type"] == "ADDED":
            self.counts[kind.kind] += 1
        self.times.setdefault((kind.kind, event["object"]["metadata"]["name"]), []).append(time.monotonic())
        self._changed.set()

    async def until(self, predicate: Callable[[], bool], what: str) -> None:
        """Wait until something holds."""
        try:
            async with asyncio.timeout(DEADLINE):
                while not predicate():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise RuntimeError(f"{what}, not within {DEADLINE:.0f} s; seen: {dict(self.counts)}") from None


@asynccontextmanager
async def observed(client: Client, kinds: Iterable[Kind], namespace: str) -> AsyncIterator[Seen]:
    """Watch kinds in a namespace, as long as the block runs."""
    seen = Seen()
    async with contextlib.AsyncExitStack() as stack:
        tasks = []
        for kind in kinds:
            events = await stack.enter_async_context(client.watch(kind, namespace))
            tasks.append(asyncio.create_task(_follow(kind, events, seen)))
        try:
            yield seen
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(kind: Kind, events: AsyncIterator[Object], seen: Seen) -> None:
    async for event in events:
        seen.take(kind, event)


def names(count: int) -> list[str]:
    """Names of AgentServices."""
    return [f"bench-{number:04d}" for number in range(count)]


async def create_services(
    client: Client, namespace: str, wanted: Sequence[str], then: Callable[[Object], Awaitable[object]] | None = None
) -> None:
    """Create AgentServices at once; ``then`` gets each as the server made it."""

    async def one(name: str) -> None:
        live = await client.send("POST", AGENT_SERVICE.path(namespace), agent_service(namespace, name))
        if then is not None:
            await then(live)

    async with asyncio.TaskGroup() as creating:
        for name in wanted:
            creating.create_task(one(name))


def children_of(service: Object, context: BuildContext) -> list[tuple[Kind, Object]]:
    """What the operator makes of an AgentService, to be written without it."""
    return [(KIND_BY_NAME[intent["kind"]], intent) for intent in build(parse(service), context)]


async def write_children(client: Client, service: Object, context: BuildContext) -> None:
    """The floor: the same objects by server-side apply, with nothing in between."""
    await asyncio.gather(*(client.apply(kind, intent) for kind, intent in children_of(service, context)))
