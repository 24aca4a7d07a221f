"""Keeps a sink in step with one kind of the API server: list, watch from there, list again every two minutes or so.

The second list heals what no watch promises: an event that was lost, on its way or in a bug of ours. What is seen goes
to the sink at once; nothing is kept here but the resourceVersion to resume from.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from math import ceil

from agentservice_operator.engine.kinds import Kind
from agentservice_operator.engine.ports import Forbidden, KubernetesError, Name, Object, Sink
from agentservice_operator.kube.client import KubeClient, typed
from agentservice_operator.kube.decoding import decode
from agentservice_operator.kube.errors import Expired, NotFound, error_from_status
from agentservice_operator.kube.transport import JSON, METADATA_ONLY, Request

RELIST_EVERY = 110.0
"""Seconds, at most; spread downwards by a sixth. A lost event is healed within two minutes."""
STALLED_AFTER = 70.0
"""Seconds without a byte. The API server sends a bookmark about every minute on a quiet watch, so this one is dead."""
ASK_ABSENT_EVERY = 30.0
"""Seconds between the questions for a kind that the API server lacks: its CRD may be installed any time."""
FIRST_BACKOFF, LONGEST_BACKOFF = 0.2, 30.0
"""Seconds after the first failure in a row, and at most."""

_log = logging.getLogger(__name__)


class Reflector:
    """Follows one kind.

    Args:
        client: its reads are used, and no write.
        kind: what to follow. A kind that the API server lacks counts as an empty one until it appears.
        namespaces: where; None for the whole cluster.
        sink: where it goes.
        label_selector: as in a query, such as ``app.kubernetes.io/managed-by=agentservice-operator``.
        metadata_only: ask for apiVersion, kind and metadata only.
        watch: False lists only, for a kind that somebody else watches for the sink.
        on_served: makes the kind optional, and is told whether it can be listed. One that is refused (403) counts
            as one that the API server lacks, and ``synced`` waits for the first answer only, whatever it is.
        relist_every: seconds between two lists, at most.
        stalled_after: seconds without a byte after which a watch is given up.
        ask_absent_every: seconds between the questions for a kind that the API server lacks.
    """

    def __init__(
        self,
        client: KubeClient,
        kind: Kind,
        namespaces: Sequence[str] | None,
        sink: Sink,
        *,
        label_selector: str | None = None,
        metadata_only: bool = False,
        watch: bool = True,
        on_served: Callable[[bool], None] | None = None,
        relist_every: float = RELIST_EVERY,
        stalled_after: float = STALLED_AFTER,
        ask_absent_every: float = ASK_ABSENT_EVERY,
    ) -> None:
        self.kind = kind
        self.synced = asyncio.Event()
        """Set once every namespace has been listed, an optional kind's as far as that goes."""
        self._client = client
        self._sink = sink
        self._label_selector = label_selector
        self._metadata_only = metadata_only
        self._watches = watch
        self._on_served = on_served
        self._relist_every = relist_every
        self._stalled_after = stalled_after
        self._ask_absent_every = ask_absent_every
        self._scopes = [_Scope(None)] if namespaces is None else [_Scope(namespace) for namespace in namespaces]

    @property
    def last_seen(self) -> float:
        """When the API server was last heard, in the namespace where that is longest ago (``time.monotonic``)."""
        return min(scope.heard for scope in self._scopes)

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for scope in self._scopes:
                tasks.create_task(self._follow(scope), name=f"reflect {self.kind.plural} {scope.namespace or '*'}")

    async def _follow(self, scope: _Scope) -> None:
        while True:
            relist_at = time.monotonic() + self._relist_every * _spread(5 / 6, 1)
            try:
                await self._list(scope)
                if self._watches:
                    await self._watch_until(scope, relist_at)
                else:
                    await asyncio.sleep(relist_at - time.monotonic())
            except KubernetesError as error:
                if self._lacks(error):
                    self._sink.end_list(set(), scope.version, scope.namespace)
                    self._answered(scope, served=False)
                    await asyncio.sleep(self._ask_absent_every * _spread(0.9, 1.1))
                    continue
                level = logging.INFO if isinstance(error, Expired) else logging.WARNING
                kind, count = self.kind.plural, scope.failures + 1
                _log.log(level, "%s are listed again, failure %d in a row: %s", kind, count, error)
                await self._pause(scope)
            except Exception:  # noqa: BLE001 - for the reason below
                # A defect in the sink must not end what keeps the cache alive: the next list may well succeed, and
                # until it does ``last_seen`` grows old and tells.
                _log.exception("What came of %s could not be taken in", self.kind.plural)
                await self._pause(scope)

    def _lacks(self, error: KubernetesError) -> bool:
        """Whether there is nothing to follow; for an optional kind also where nothing may be."""
        return isinstance(error, NotFound) or (self._on_served is not None and isinstance(error, Forbidden))

    async def _pause(self, scope: _Scope) -> None:
        """Wait after a failure, longer after each; nobody else waits for an optional kind meanwhile."""
        scope.failures += 1
        if self._on_served is not None:
            self._settle(scope)
        await asyncio.sleep(_backoff(scope.failures))

    async def _list(self, scope: _Scope) -> None:
        version, names = "", set[Name]()
        pages = self._client.pages(
            self.kind, scope.namespace, label_selector=self._label_selector, metadata_only=self._metadata_only
        )
        async for page in pages:
            names |= self._put(page.pop("items") or [])  # popped: the page lives until the next one is here
            version = page["metadata"]["resourceVersion"]
        self._sink.end_list(names, version, scope.namespace)
        scope.version = version
        self._answered(scope, served=True)

    def _put(self, items: list[Object]) -> set[Name]:
        for item in items:
            self._sink.put_listed(typed(item, self.kind))
        return {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in items}

    async def _watch_until(self, scope: _Scope, relist_at: float) -> None:
        """Watch until it is time for the next list, resuming where a watch ended, stalled or broke."""
        while (remaining := relist_at - time.monotonic()) > 0:
            heard = scope.heard
            try:
                await self._watch(scope, remaining)
            except (Expired, NotFound):
                raise
            except KubernetesError as error:
                _log.info("Watch is resumed: %s", error)
            if scope.heard == heard and relist_at > time.monotonic():
                scope.failures += 1
                await asyncio.sleep(min(_backoff(scope.failures), remaining))

    async def _watch(self, scope: _Scope, remaining: float) -> None:
        query = {
            "watch": "1",
            "resourceVersion": scope.version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(ceil(remaining)),
        }
        if self._label_selector:
            query["labelSelector"] = self._label_selector
        request = Request(
            "watch",
            self.kind.kind,
            "GET",
            self.kind.path(scope.namespace),
            name=scope.namespace or "",
            query=query,
            accept=METADATA_ONLY if self._metadata_only else JSON,
        )
        async with self._client.transport.stream(request, stalled_after=self._stalled_after) as chunks:
            async for line in _lines(chunks):
                self._take(scope, decode(line), request.subject)
                self._heard(scope)

    def _take(self, scope: _Scope, event: Object, subject: str) -> None:
        item: Object = event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._sink.put(typed(item, self.kind))
            case "DELETED":
                self._sink.remove(typed(item, self.kind))
            case "ERROR":
                raise error_from_status(item, subject=subject)
        scope.version = item["metadata"]["resourceVersion"]

    def _heard(self, scope: _Scope) -> None:
        scope.heard = time.monotonic()
        scope.failures = 0

    def _answered(self, scope: _Scope, *, served: bool) -> None:
        """A list succeeded, or showed that there is nothing to list."""
        self._heard(scope)
        scope.served = served
        if self._on_served is not None:
            self._on_served(any(each.served for each in self._scopes))
        self._settle(scope)

    def _settle(self, scope: _Scope) -> None:
        scope.settled = True
        if all(each.settled for each in self._scopes):
            self.synced.set()


@dataclass(slots=True)
class _Scope:
    """One namespace (None: all of them) and how far it has been followed."""

    namespace: str | None
    version: str = "0"
    heard: float = field(default_factory=time.monotonic)
    failures: int = 0
    served: bool = False
    settled: bool = False


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join pieces to lines of any length; what follows the last line end was cut off and is dropped."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk
        if b"\n" in chunk:
            *lines, rest = pending.split(b"\n")
            pending = bytearray(rest)
            for line in lines:
                if line:
                    yield bytes(line)
            await asyncio.sleep(0)  # buffered bytes are handed out without a pause, and the loop has others to serve


def _backoff(failures: int) -> float:
    return min(FIRST_BACKOFF * 2.0 ** (failures - 1), LONGEST_BACKOFF) * _spread(0.5, 1.5)


def _spread(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311 - spreads load, guards nothing
