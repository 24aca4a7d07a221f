"""What a namespace has come to, without what differs between two runs that went the same way."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from agentservice_operator.api.v1alpha1.well_known import REVISION_ANNOTATION
from agentservice_operator.engine.kinds import AGENT_SERVICE, CHILDREN, POD, REPLICA_SET, Kind

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
_Found = dict[str, list[Object]]
"""Objects of one namespace by their kind."""


@dataclass(frozen=True)
class EndState:
    """Everything in a namespace, as text."""

    text: str

    def difference(self, seen: EndState) -> str:
        """What ``seen`` has more (+) and less (-), line by line."""
        ours, theirs = self.text.splitlines(), seen.text.splitlines()
        return "\n".join(difflib.unified_diff(ours, theirs, "expected", "seen", n=2, lineterm=""))


class Observer:
    """Looks at namespaces as the administrator, over connections that it keeps.

    Many look at the same time, each at a namespace of its own: one list of each kind serves all who asked before it.

    Args:
        cluster: where.
        home: the operator's own namespace, which children may name.
    """

    def __init__(self, cluster: Cluster, home: str) -> None:
        self._cluster = cluster
        self._home = home
        self._looking = asyncio.Lock()
        self._looks = 0
        self._found: dict[str, _Found] = {}
        self._known: dict[str, tuple[list[str], EndState]] = {}

    async def __aenter__(self) -> Self:
        """Begin."""
        api = self._cluster.api
        self._session = aiohttp.ClientSession(
            api.server, headers=api.headers, connector=aiohttp.TCPConnector(ssl=api.tls)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """End."""
        await self._session.close()

    async def reach(self, namespace: str, want: EndState, within: float, when: str) -> None:
        """Wait until everything is as wanted.

        Raises:
            AssertionError: It is not within so many seconds; with what differs.
        """
        end = time.monotonic() + within
        while (seen := self._state(namespace, await self._look(namespace))) != want:
            assert time.monotonic() < end, f"{when}, not within {within:g} s:\n{want.difference(seen)}"
            await asyncio.sleep(_LOOK_EVERY)

    async def settled(self, namespace: str, after: float, is_settled: Callable[[Object], bool]) -> EndState:
        """Wait until AgentServices are settled and nothing has changed for so many seconds; return what is there."""
        since = time.monotonic()
        end = since + 60 + after
        seen: EndState | None = None
        while seen is None or time.monotonic() < since + after:
            found = await self._look(namespace)
            now = self._state(namespace, found)
            if now != seen or not all(map(is_settled, found[AGENT_SERVICE.kind])):
                since, seen = time.monotonic(), now
            assert time.monotonic() < end, f"no rest:\n{now.text}"
            await asyncio.sleep(_LOOK_EVERY)
        return seen

    async def _look(self, namespace: str) -> _Found:
        asked = self._looks
        async with self._looking:
            if self._looks == asked:  # no list was begun since
                self._looks += 1
                lists = await asyncio.gather(*(self._list(kind) for kind in _SEEN))
                self._found = defaultdict(lambda: {kind.kind: [] for kind in _SEEN})
                for kind, items in zip(_SEEN, lists, strict=True):
                    for item in items:
                        self._found[item["metadata"]["namespace"]][kind.kind].append(item)
            return self._found[namespace]

    async def _list(self, kind: Kind) -> list[Object]:
        async with self._session.get(kind.path()) as response:
            if response.status == HTTPStatus.NOT_FOUND:  # the API server lacks the kind
                return []
            response.raise_for_status()
            items: list[Object] = (await response.json())["items"]
            return items

    def _state(self, namespace: str, found: _Found) -> EndState:
        versions = [
            item["metadata"]["uid"] + item["metadata"]["resourceVersion"] for kind in found.values() for item in kind
        ]
        known, state = self._known.get(namespace, ([], EndState("")))
        if known != versions:
            state = end_state(found, {namespace: "NAMESPACE", self._home: "HOME"})
            self._known[namespace] = (versions, state)
        return state


def end_state(found: _Found, places: dict[str, str]) -> EndState:
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
