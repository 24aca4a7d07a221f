"""What the operator remembers of the cluster: small projections, filled by watches and by the answers to own writes.

An event older than what is known is dropped, and one that changes nothing that matters wakes nobody; so an own write,
put here when its answer came, is not worked on a second time when the watch repeats it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import structlog

from agentservice_operator.api.v1alpha1.well_known import PAUSED_ANNOTATION, SERVICE_LABEL
from agentservice_operator.engine.kinds import (
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    HTTP_ROUTE,
    INGRESS,
    PERSISTENT_VOLUME_CLAIM,
    Kind,
    ServiceKey,
)
from agentservice_operator.engine.ownership import digest, owned, owns
from agentservice_operator.engine.ports import FIELD_MANAGER, REPLICAS_FIELD_MANAGER, Name, Object
from agentservice_operator.engine.queue import Priority
from agentservice_operator.status.observed import (
    AutoscalerFacts,
    DeploymentFacts,
    HTTPRouteFacts,
    IngressFacts,
    PodFacts,
    autoscaler_facts,
    deployment_facts,
    http_route_facts,
    ingress_facts,
    pod_facts,
)
from agentservice_operator.status.volume import VolumeFacts, volume_facts

log = structlog.get_logger(__name__)

Wake = Callable[[ServiceKey, Priority], None]

ChildFacts = DeploymentFacts | AutoscalerFacts | IngressFacts | HTTPRouteFacts | VolumeFacts

REMEMBERED_DELETIONS = 1000
"""More than can happen between a write and its answer."""


class Remembered(Protocol):
    """What a cache needs to know of its entries; equality must ignore the resourceVersion."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def resource_version(self) -> str: ...
    @property
    def service(self) -> ServiceKey: ...


T = TypeVar("T", bound=Remembered)


@dataclass(frozen=True, slots=True)
class Child:
    """A live child."""

    namespace: str
    name: str
    uid: str
    service: ServiceKey
    controller_uid: str | None
    deleting: bool
    created: str
    intent_digest: str
    """Digest of the fields that our field manager owns, with their live values."""
    owns_replicas: bool
    holds_replicas: bool
    """Whether the count is one that we handed over and that nobody has set since."""
    facts: ChildFacts | None
    resource_version: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Pod:
    """A live pod of an AgentService."""

    namespace: str
    service: ServiceKey
    facts: PodFacts
    resource_version: str = field(compare=False)

    @property
    def name(self) -> str:
        """The pod's name."""
        return self.facts.name


@dataclass(frozen=True, slots=True)
class Service:
    """An AgentService as the API server holds it."""

    namespace: str
    name: str
    uid: str
    generation: int
    deleting: bool
    raw: Object = field(compare=False)
    paused: bool
    """By its annotation. No other one means anything, so that an edit of them wakes nobody."""
    status: Object
    resource_version: str = field(compare=False)

    @property
    def service(self) -> ServiceKey:
        """Its own key."""
        return ServiceKey(self.namespace, self.name)


_REPLICAS = ("spec", "replicas")

_FACTS: dict[Kind, Callable[[Object], ChildFacts]] = {
    DEPLOYMENT: deployment_facts,
    HORIZONTAL_POD_AUTOSCALER: autoscaler_facts,
    HTTP_ROUTE: http_route_facts,
    INGRESS: ingress_facts,
    PERSISTENT_VOLUME_CLAIM: volume_facts,
}


def child_projection(kind: Kind) -> Callable[[Object], Child]:
    """How to remember a child of this kind."""
    facts = _FACTS.get(kind)

    def project(item: Object) -> Child:
        meta = item["metadata"]
        live = {"apiVersion": kind.api_version, "kind": kind.kind, **item}  # items of a list come without them
        return Child(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            service=_service_of(item),
            controller_uid=controller_uid(item),
            deleting="deletionTimestamp" in meta,
            created=meta["creationTimestamp"],
            intent_digest=digest(owned(live, FIELD_MANAGER)),
            owns_replicas=kind is DEPLOYMENT and owns(live, FIELD_MANAGER, _REPLICAS),
            holds_replicas=kind is DEPLOYMENT and owns(live, REPLICAS_FIELD_MANAGER, _REPLICAS),
            facts=facts(item) if facts else None,
            resource_version=meta["resourceVersion"],
        )

    return project


def pod_projection(item: Object) -> Pod:
    """How to remember a pod."""
    meta = item["metadata"]
    return Pod(meta["namespace"], _service_of(item), pod_facts(item), meta["resourceVersion"])


def service_projection(item: Object) -> Service:
    """How to remember an AgentService."""
    meta = item["metadata"]
    return Service(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 1),
        deleting="deletionTimestamp" in meta,
        # Who owns which field is as much again as all the rest.
        raw={**item, "metadata": {name: value for name, value in meta.items() if name != "managedFields"}},
        paused=(meta.get("annotations") or {}).get(PAUSED_ANNOTATION) == "true",
        status=item.get("status") or {},
        resource_version=meta["resourceVersion"],
    )


def controller_uid(item: Object) -> str | None:
    """The uid of the owner that controls an object, None where nobody does."""
    owners = item["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)


class Cache(Generic[T]):
    """One kind's live objects by name, and by the AgentService that they belong to. A ``ports.Sink``."""

    def __init__(self, project: Callable[[Object], T], wake: Wake) -> None:
        self._project = project
        self._wake = wake
        self._entries: dict[Name, T] = {}
        self._by_service: defaultdict[ServiceKey, set[Name]] = defaultdict(set)
        self._gone: dict[Name, int] = {}
        """The latest deletions by name: an own write's answer may come after them."""

    def __iter__(self) -> Iterator[T]:
        return iter(list(self._entries.values()))

    def get(self, namespace: str, name: str) -> T | None:
        """The entry of that name, None where none is known."""
        return self._entries.get((namespace, name))

    def of(self, service: ServiceKey) -> list[T]:
        """Everything that carries the label of an AgentService."""
        return [self._entries[key] for key in sorted(self._by_service.get(service, ()))]

    def put(self, item: Object) -> None:
        """Take over an event."""
        self._see(item, Priority.CHANGE)

    def put_listed(self, item: Object) -> None:
        """Take over an item of a list: live changes go first."""
        self._see(item, Priority.STARTUP)

    def end_list(self, names: set[Name], resource_version: str, namespace: str | None) -> None:
        """A list has been taken over: entries that it lacks are gone, unless they are newer than the list."""
        for key, entry in list(self._entries.items()):
            if key in names or (namespace is not None and key[0] != namespace):
                continue
            if int(entry.resource_version) <= int(resource_version):
                self._bury(key, int(resource_version))
                self._wake(entry.service, Priority.CHANGE)

    def put_own(self, item: Object) -> T:
        """Take over the answer to a write of ours: it wakes nobody, and neither will the watch's echo of it.

        Returns:
            The answer as it would be remembered, also where something newer is known already.
        """
        entry = self._project(item)
        self._put(entry, None)
        return entry

    def remove(self, item: Object) -> None:
        """Take over a deletion, unless the entry is newer (deleted and made again)."""
        key = (item["metadata"]["namespace"], item["metadata"]["name"])
        version = int(item["metadata"]["resourceVersion"])
        entry = self._entries.get(key)
        if entry is not None and int(entry.resource_version) > version:
            return
        self._bury(key, version)
        if entry is not None:
            self._wake(entry.service, Priority.CHANGE)

    def forget(self, namespace: str, name: str) -> None:
        """Drop an entry that a live read showed to be gone."""
        self._drop((namespace, name))

    def _see(self, item: Object, priority: Priority) -> None:
        try:
            entry = self._project(item)
        except Exception:
            # Anybody may make an object with our labels: one that is odd must not hide all others of its kind.
            meta = item["metadata"]
            log.exception("an object cannot be read; it is left out", namespace=meta["namespace"], name=meta["name"])
            self._drop((meta["namespace"], meta["name"]))
        else:
            self._put(entry, priority)

    def _put(self, entry: T, priority: Priority | None) -> None:
        key = (entry.namespace, entry.name)
        known = self._entries.get(key)
        if known is not None and int(known.resource_version) >= int(entry.resource_version):
            return
        if int(entry.resource_version) <= self._gone.get(key, 0):
            return
        self._drop(key)
        self._entries[key] = entry
        self._by_service[entry.service].add(key)
        if priority is not None and known != entry:
            self._wake(entry.service, priority)
            if known is not None and known.service != entry.service:
                self._wake(known.service, priority)

    def _bury(self, key: Name, version: int) -> None:
        self._drop(key)
        self._gone[key] = max(version, self._gone.pop(key, 0))
        if len(self._gone) > REMEMBERED_DELETIONS:
            del self._gone[next(iter(self._gone))]

    def _drop(self, key: Name) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            names = self._by_service[entry.service]
            names.discard(key)
            if not names:
                del self._by_service[entry.service]


class Caches:
    """Every cache of the operator."""

    def __init__(self, kinds: Iterable[Kind], wake: Wake) -> None:
        self.services: Cache[Service] = Cache(service_projection, wake)
        self.pods: Cache[Pod] = Cache(pod_projection, wake)
        self.children: dict[Kind, Cache[Child]] = {kind: Cache(child_projection(kind), wake) for kind in kinds}
        self.served: frozenset[str] = frozenset()
        """Names of the optional kinds that the API server has."""
        self._wake = wake

    def deployments(self, service: Service) -> list[DeploymentFacts]:
        """What the Deployments of an AgentService say of themselves, without those that are on their way out."""
        return [
            child.facts
            for child in self.children[DEPLOYMENT].of(service.service)
            if child.controller_uid == service.uid and not child.deleting and isinstance(child.facts, DeploymentFacts)
        ]

    def set_served(self, kind: Kind, served: bool) -> None:  # noqa: FBT001 - the one thing to be told
        """An optional kind is there or not; every AgentService may gain or lose a child where that is new."""
        if served == (kind.kind in self.served):
            return
        self.served = self.served | {kind.kind} if served else self.served - {kind.kind}
        log.info("an optional kind came or went", kind=kind.kind, api_version=kind.api_version, served=served)
        for service in self.services:
            self._wake(service.service, Priority.STARTUP)


def _service_of(item: Object) -> ServiceKey:
    meta = item["metadata"]
    return ServiceKey(meta["namespace"], (meta.get("labels") or {}).get(SERVICE_LABEL, ""))
