"""A proxy between an operator and its API server in which, once and at a named moment, something goes wrong.

It forwards everything as it is, with the operator's own credentials, and keeps a journal per namespace: which writes
passed and how they were answered, which watch events were delivered. A write or an event is named by what it is and by
how many like it came before, as in ``apply deployments/hello#2``; a ``Fault`` waits for such a name.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Self

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from dev.cluster import Cluster, write_kubeconfig
from tests.controlplane.faults import Answer, CutError, Event, Fault, what

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NOT_OURS_TO_FAIL = frozenset({"leases", "events"})
"""Leadership has tests of its own; an Event that is lost is lost."""
_RANDOM_PARTS = {"pods": 2, "configmaps": 1}
"""How many parts of a name end it that differ from run to run."""
_HOP_BY_HOP = frozenset({"host", "connection", "accept-encoding", "content-length", "transfer-encoding", "keep-alive"})


@dataclass
class Journal:
    """What passed in one namespace since it is followed.

    Args:
        fault: what goes wrong there.
        writes: name and answer's code of each forwarded write, in the order of the answers.
        events: the names of all events of its watches, in order, whatever became of them.
    """

    fault: Fault
    writes: list[tuple[str, int]] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    _seen: Counter[str] = field(default_factory=Counter)

    def name(self, what: str) -> str:
        """Name the next one of its kind."""
        self._seen[what] += 1
        return f"{what}#{self._seen[what]}"

    def told(self) -> str:
        """Its writes, one per line."""
        return "\n".join(f"{code} {name}" for name, code in self.writes)

    @property
    def created(self) -> Counter[str]:
        """How many objects were made, by resource."""
        return Counter(_resource_of(name) for name, code in self.writes if code == HTTPStatus.CREATED)

    @property
    def changed(self) -> Counter[str]:
        """How often it wrote to what, status apart: how often that is written depends on time."""
        return Counter(what(name) for name, _ in self.writes if "/status#" not in name)

    @property
    def deleted(self) -> Counter[str]:
        """How many objects were deleted, by resource."""
        done = [name for name, code in self.writes if name.startswith("delete ") and code < HTTPStatus.BAD_REQUEST]
        return Counter(_resource_of(name) for name in done)


class FaultProxy:
    """Listens on loopback while its block lasts.

    Args:
        cluster: the one behind it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._journals: dict[str, Journal] = {}
        self._watches: set[asyncio.Task[object]] = set()
        """Those of a dead operator outlast their connection."""
        self.url = ""

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        connector = aiohttp.TCPConnector(ssl=self._cluster.api.tls, limit=0)
        self._upstream = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
        )
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cut every connection."""
        for watch in self._watches:
            watch.cancel()
        try:
            await asyncio.gather(*self._watches, return_exceptions=True)
            await self._runner.cleanup()
        finally:  # also where the campaign is ended early
            await self._upstream.close()

    @property
    def written(self) -> int:
        """How many writes passed since namespaces are followed."""
        return sum(len(journal.writes) for journal in self._journals.values())

    @property
    def patience(self) -> float:
        """Seconds by which the slowest view may lag behind."""
        return max((journal.fault.patience for journal in self._journals.values()), default=0.0)

    def follow(self, namespace: str, fault: Fault | None = None) -> Journal:
        """Begin the journal of a namespace, with what is to go wrong there."""
        self._journals[namespace] = Journal(fault or Fault())
        return self._journals[namespace]

    def cluster(self) -> Cluster:
        """The cluster as it is reached through this proxy by ServiceAccounts; its administrator passes it by."""
        return _Proxied(
            self._cluster.name, self._cluster.kubeconfig, self._cluster.kubectl_path, self._cluster.audit_log, self.url
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = _Target.of(request)
        try:
            if request.query.get("watch") in {"1", "true"}:
                watch = asyncio.create_task(self._watch(request, target))
                self._watches.add(watch)
                watch.add_done_callback(self._watches.discard)
                return await watch
            return await _send(request, await self._answer(request, target))
        except (CutError, aiohttp.ClientConnectionError):
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _answer(self, request: web.BaseRequest, target: _Target) -> Answer:
        body = await request.read()
        journal = self._journal(target)
        if request.method == "GET":
            return await journal.fault.read(request.path_qs, partial(self._forward, request, body))
        if target.resource in _NOT_OURS_TO_FAIL:
            return await self._forward(request, body)
        name = journal.name(_write(request, target, body))

        async def forward(**query: str) -> Answer:
            answer = await self._forward(request, body, **query)
            journal.writes.append((name, answer.code))
            return answer

        return await journal.fault.write(name, forward)

    async def _forward(self, request: web.BaseRequest, body: bytes, **query: str) -> Answer:
        async with self._open(request, body, **query) as response:
            return Answer(response.status, _end_to_end(response.headers), await response.read())

    async def _watch(self, request: web.BaseRequest, target: _Target) -> web.StreamResponse:
        async with self._open(request, b"") as upstream:
            answer = web.StreamResponse(status=upstream.status, headers=_end_to_end(upstream.headers))
            await answer.prepare(request)
            arrived: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
            reading = asyncio.create_task(_read_lines(upstream, arrived), name=f"events of {target}")
            try:
                while (event := await arrived.get()) is not None:
                    if request.transport is None:  # a dead operator sees no events
                        raise CutError
                    for each in await self._deliver(*event, target):
                        await answer.write(each)
                        if each.startswith(b'{"type": "ERROR"'):
                            return answer
                await reading
            finally:
                reading.cancel()
            return answer

    async def _deliver(self, arrived: float, line: bytes, target: _Target) -> Sequence[bytes]:
        journal = self._journal(target)  # looked up each time: a watch may be older than the journal
        event = json.loads(line)
        if event["type"] in {"BOOKMARK", "ERROR"}:
            return (line,)
        metadata = event["object"]["metadata"]
        name = journal.name(f"{event['type']} {replace(target, name=metadata['name'])}")
        journal.events.append(name)
        return await journal.fault.event(Event(name, line, int(metadata["resourceVersion"]), arrived))

    def _journal(self, target: _Target) -> Journal:
        return self._journals.get(target.namespace) or Journal(Fault())

    def _open(self, request: web.BaseRequest, body: bytes, **query: str) -> aiohttp.client._RequestContextManager:
        url = URL(self._cluster.server + request.path_qs, encoded=True)
        url = url.update_query(query) if query else url
        headers = {**_end_to_end(request.headers), "Accept-Encoding": "identity"}  # what passes is read here
        return self._upstream.request(request.method, url, headers=headers, data=body or None, allow_redirects=False)


@dataclass(frozen=True)
class _Proxied(Cluster):
    """A cluster whose ServiceAccounts go through the proxy."""

    proxy: str = ""

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        direct = super().service_account_kubeconfig(namespace, name)
        config = yaml.safe_load(direct.read_text())
        return write_kubeconfig(
            direct.with_suffix(".proxied"),
            server=self.proxy,
            ca=base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]),
            token=config["users"][0]["user"]["token"],
            namespace=namespace,
        )


@dataclass(frozen=True)
class _Target:
    """What a request is about: the parts of its path."""

    namespace: str
    resource: str
    name: str
    subresource: str
    metadata_only: bool

    @classmethod
    def of(cls, request: web.BaseRequest) -> _Target:
        parts = request.path.strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[:1] == ["namespaces"]:
            namespace, parts = parts[1] if len(parts) > 1 else "", parts[2:]
        resource, name, subresource = (*parts, "", "", "")[:3]
        return cls(namespace, resource, name, subresource, "PartialObject" in request.headers.get("Accept", ""))

    def __str__(self) -> str:
        resource = "configmap-names" if self.resource == "configmaps" and self.metadata_only else self.resource
        random = _RANDOM_PARTS.get(self.resource, 0)
        name = self.name.rsplit("-", random)[0] if random else self.name
        return "/".join(part for part in (resource, name, self.subresource) if part)


def _write(request: web.BaseRequest, target: _Target, body: bytes) -> str:
    verb = _VERBS[request.method]
    if "apply-patch" in request.headers.get("Content-Type", ""):
        verb = "apply"
    if request.query.get("fieldManager", "").endswith("-replicas"):
        verb = "hand-over"
    if verb == "create":
        target = replace(target, name=json.loads(body)["metadata"]["name"])
    return f"{verb} {replace(target, metadata_only=False)}"


def _resource_of(name: str) -> str:
    return name.split()[1].split("/", maxsplit=1)[0]


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


async def _read_lines(upstream: aiohttp.ClientResponse, lines: asyncio.Queue[tuple[float, bytes] | None]) -> None:
    """Note when each line came, however long those before it are held back; None ends them."""
    pending = b""
    try:
        async for piece in upstream.content.iter_any():
            *whole, pending = (pending + piece).split(b"\n")
            for line in whole:
                lines.put_nowait((time.monotonic(), line + b"\n"))
    finally:
        lines.put_nowait(None)


async def _send(request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
    response = web.Response(status=answer.code, headers=answer.headers, body=answer.body)
    await response.prepare(request)
    await response.write_eof()
    if answer.afterwards is not None:
        answer.afterwards()
    return response
