"""What a namespace has come to, without what differs between two runs that went the same way."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from agentservice_operator.api.v1alpha1.well_known import REVISION_ANNOTATION
from agentservice_operator.engine.kinds import AGENT_SERVICE, CHILDREN, POD, REPLICA_SET, Kind
from agentservice_operator.kopf_app import RECURSION_LIMIT

from dev.cluster import Cluster
from tests.controlplane.agent_services import Object

_OF_EVERY_NAMESPACE = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
_DIFFERS = frozenset(
    {
        "uid",
        "resourceVersion",
        "generation",
        "managedFields",
        "creationTimestamp",
        "lastTransitionTime",
        "clusterIP",
        "clusterIPs",
    }
)
_COUNTS = ("replicas", "readyReplicas", "updatedReplicas", "unavailableReplicas")
_IN_ANOTHERS_TIME = "ScalingActive"
"""What the autoscaler says of itself, every 15 s; without a metrics server that it has no metrics."""
_LOOK_EVERY = 0.5
"""Seconds."""
_SEEN = (AGENT_SERVICE, *CHILDREN, REPLICA_SET, POD)
_Found = dict[str, dict[str, Object]]
"""Objects of one namespace by their kind and name."""


@dataclass(frozen=True)
class EndState:
    """Everything in a namespace, as text."""

    text: str

    def difference(self, seen: EndState) -> str:
        """What ``seen`` has more (+) and less (-), line by line."""
        ours, theirs = self.text.splitlines(), seen.text.splitlines()
        return "\n".join(difflib.unified_diff(ours, theirs, "expected", "seen", n=2, lineterm=""))


class Observer:
    """Looks at namespaces as the administrator, through watches of its own: many look at the same time.

    Args:
        cluster: where.
        home: the operator's own namespace, which children may name.
    """

    def __init__(self, cluster: Cluster, home: str) -> None:
        self._cluster = cluster
        self._home = home
        self._found: defaultdict[str, _Found] = defaultdict(lambda: {kind.kind: {} for kind in _SEEN})
        self._gone: dict[tuple[str, str, str], int] = {}
        """When what was deleted last of a namespace, kind and name: a list may be older than the event."""
        self._states: dict[str, EndState] = {}
        """Of namespaces in which nothing has changed since."""

    async def __aenter__(self) -> Self:
        """Begin."""
        # In the namespaces of other tests there are objects as deep as the API server takes them.
        sys.setrecursionlimit(RECURSION_LIMIT)
        api = self._cluster.api
        self._session = aiohttp.ClientSession(
            api.server,
            headers=api.headers,
            connector=aiohttp.TCPConnector(ssl=api.tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=None),
        )
        self._watches = [asyncio.create_task(self._follow(kind), name=f"observe {kind.plural}") for kind in _SEEN]
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        await self._session.close()

    async def reach(self, namespace: str, want: EndState, within: float, when: str) -> None:
        """Wait until everything is as wanted.

        Raises:
            AssertionError: It is not within so many seconds; with what differs.
        """
        end = time.monotonic() + within
        await self._catch_up(namespace)
        while (seen := self._state(namespace)) != want:
            assert time.monotonic() < end, f"{when}, not within {within:g} s:\n{want.difference(seen)}"
            await asyncio.sleep(_LOOK_EVERY)

    async def settled(self, namespace: str, after: float, is_settled: Callable[[Object], bool]) -> EndState:
        """Wait until AgentServices are settled and nothing has changed for so many seconds; return what is there."""
        await self._catch_up(namespace)
        since, seen = time.monotonic(), self._state(namespace)
        end = since + 60 + after
        while time.monotonic() < since + after:
            await asyncio.sleep(_LOOK_EVERY)
            now = self._state(namespace)
            if now != seen or not all(map(is_settled, self._found[namespace][AGENT_SERVICE.kind].values())):
                since, seen = time.monotonic(), now
            assert time.monotonic() < end, f"no rest:\n{now.text}"
        return seen

    def _state(self, namespace: str) -> EndState:
        if namespace not in self._states:
            found = {kind: list(items.values()) for kind, items in self._found[namespace].items()}
            self._states[namespace] = end_state(found, {namespace: "NAMESPACE", self._home: "HOME"})
        return self._states[namespace]

    async def _catch_up(self, namespace: str) -> None:
        """See what was done to a namespace until now, whether or not the watches have told it yet."""
        for watch in self._watches:
            if watch.done():
                watch.result()  # raises what ended it
        await asyncio.gather(*(self._list(kind, namespace) for kind in _SEEN))

    async def _follow(self, kind: Kind) -> None:
        while True:
            try:
                if (version := await self._list(kind)) is None:  # the API server lacks the kind
                    return
                await self._watch(kind, version)
            except aiohttp.ClientError:
                await asyncio.sleep(_LOOK_EVERY)

    async def _list(self, kind: Kind, namespace: str | None = None) -> str | None:
        async with self._session.get(kind.path(namespace)) as response:
            if response.status == HTTPStatus.NOT_FOUND:
                return None
            response.raise_for_status()
            listed = await response.json()
        version: str = listed["metadata"]["resourceVersion"]
        there = {(item["metadata"]["namespace"], item["metadata"]["name"]) for item in listed["items"]}
        for place, found in self._found.items():
            if namespace in {None, place}:
                for name, item in list(found[kind.kind].items()):
                    if (place, name) not in there and _version(item) <= int(version):
                        self._forget(kind, item, int(version))
        for item in listed["items"]:
            self._remember(kind, item)
        return version

    async def _watch(self, kind: Kind, version: str) -> None:
        """Until it ends or is too old."""
        async with self._session.get(kind.path(), params={"watch": "1", "resourceVersion": version}) as response:
            response.raise_for_status()
            pending = b""
            async for piece in response.content.iter_any():
                *lines, pending = (pending + piece).split(b"\n")
                for event in map(json.loads, lines):
                    if event["type"] == "ERROR":
                        return
                    item = event["object"]
                    if event["type"] == "DELETED":
                        self._forget(kind, item, _version(item))
                    else:
                        self._remember(kind, item)

    def _remember(self, kind: Kind, item: Object) -> None:
        place, name = item["metadata"]["namespace"], item["metadata"]["name"]
        known = self._found[place][kind.kind].get(name)
        newest = _version(known) if known is not None else self._gone.get((place, kind.kind, name), 0)
        if newest < _version(item):
            # Items of a list come without the two that events have.
            self._found[place][kind.kind][name] = {k: v for k, v in item.items() if k not in {"apiVersion", "kind"}}
            self._states.pop(place, None)

    def _forget(self, kind: Kind, item: Object, version: int) -> None:
        place, name = item["metadata"]["namespace"], item["metadata"]["name"]
        known = self._found[place][kind.kind].get(name)
        if known is None or _version(known) <= version:
            self._gone[place, kind.kind, name] = version
            self._found[place][kind.kind].pop(name, None)
            self._states.pop(place, None)


def _version(item: Object) -> int:
    return int(item["metadata"]["resourceVersion"])


def end_state(found: dict[str, list[Object]], places: dict[str, str]) -> EndState:
    """Normalise everything that is in a namespace.

    Args:
        found: the objects by kind.
        places: what to call namespaces, whose names differ from run to run. Digests of what names them differ too, and
            are replaced by digests of what is left.
    """
    shown: dict[str, Any] = {}
    for kind, items in found.items():
        if kind in {"ReplicaSet", "Pod"}:
            shown[kind] = sum("deletionTimestamp" not in item["metadata"] for item in items)
            continue
        for item in items:
            if (kind, item["metadata"]["name"]) not in _OF_EVERY_NAMESPACE:
                shown[f"{kind}/{item['metadata']['name']}"] = _plain(_stated(kind, item))
    text = _renamed(json.dumps(shown), places)
    digests: dict[str, str] = {}
    for item in found["ConfigMap"]:
        content = _renamed(json.dumps(item.get("data"), sort_keys=True), places)
        digests[item["metadata"]["name"].rsplit("-", 1)[-1]] = hashlib.sha256(content.encode()).hexdigest()[:6]
    for item in found["Deployment"]:
        revision = item["spec"]["template"]["metadata"].get("annotations", {}).get(REVISION_ANNOTATION)
        if revision:
            digests[revision] = "REVISION-OF-THE-DEPLOYMENT"
    plain = json.loads(_renamed(text, digests))
    return EndState(json.dumps(plain, indent=1, sort_keys=True))


def _stated(kind: str, item: Object) -> Object:
    match kind:
        case "AgentService":
            status = item.get("status", {})
            kept = [each for each in status.get("conditions", []) if each["type"] != _IN_ANOTHERS_TIME]
            return {**item, "status": {**status, "conditions": kept}}
        case "Deployment":
            return {**item, "status": {name: item["status"].get(name, 0) for name in _COUNTS}}
        case "Secret":
            return {**item, "data": sorted(item.get("data", ()))}
        case _:
            return {name: value for name, value in item.items() if name != "status"}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if name not in _DIFFERS}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def _renamed(text: str, names: dict[str, str]) -> str:
    for name, plain in names.items():
        text = text.replace(name, plain)
    return text
