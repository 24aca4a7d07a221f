"""What the engine asks of Kubernetes, and the ways in which Kubernetes refuses.

``kube/`` implements these; the engine knows no HTTP. There is one exception type per way to react.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from agentservice_operator.api.v1alpha1 import well_known
from agentservice_operator.engine.kinds import Kind, ServiceKey
from agentservice_operator.status.events import Occurrence

Object = dict[str, Any]
"""A Kubernetes object as JSON."""
Name = tuple[str, str]
"""Namespace and name."""

FIELD_MANAGER = well_known.FIELD_MANAGER
REPLICAS_FIELD_MANAGER = "agentservice-operator-replicas"
"""Holds a Deployment's replica count while nobody else does: dropping an owned field would reset it to 1."""


class KubernetesError(Exception):
    """The API server did not do what it was asked; try again later."""

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds that the server asked to wait, where it did."""


class AlreadyExists(KubernetesError):  # noqa: N818 - the API's own word
    """A create met an object of that name (409 AlreadyExists)."""


class Conflict(KubernetesError):  # noqa: N818 - the API's own word
    """A precondition (uid, resourceVersion) or another field manager stood against the write (409 Conflict)."""


class Rejected(KubernetesError):  # noqa: N818 - the API's own word
    """The object is not acceptable (400, 422, or 403 by an admission policy); only another object may be."""


class Forbidden(KubernetesError):  # noqa: N818 - the API's own word
    """403 that may pass: missing RBAC, exhausted quota (``quota``), a namespace that ends (``terminating``)."""

    def __init__(self, message: str, *, quota: bool = False, terminating: bool = False) -> None:
        super().__init__(message, status=403)
        self.quota = quota
        self.terminating = terminating


class NotLeader(Exception):  # noqa: N818 - a state, not an error of ours
    """A write was asked for while the lease is not surely ours; nothing was sent."""


class Kubernetes(Protocol):
    """Reads and writes of single objects. All methods raise ``KubernetesError`` or a subclass."""

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The live object, or None where there is none."""

    async def get_metadata(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Only apiVersion, kind and metadata (PartialObjectMetadata): no secret value travels."""

    async def find(self, kind: Kind, namespace: str, *, field_selector: str, limit: int) -> list[Object]:
        """At most so many objects that the selector matches, by one request."""

    async def list(self, kind: Kind, namespace: str | None, *, label_selector: str | None = None) -> list[Object]:
        """Every object of a kind that the selector matches, in pages, in one namespace or all."""

    async def apply(self, kind: Kind, intent: Object, *, manager: str, force: bool = True) -> Object:
        """Server-side apply; returns the live object."""

    async def apply_status(self, kind: Kind, intent: Object, *, manager: str) -> Object:
        """Server-side apply to the status subresource; returns the live object."""

    async def create(self, kind: Kind, intent: Object, *, manager: str) -> Object:
        """Create, failing with ``AlreadyExists``; returns only metadata (PartialObjectMetadata)."""

    async def patch_metadata(self, kind: Kind, namespace: str, name: str, patch: Object, *, manager: str) -> Object:
        """JSON merge patch, answered with metadata only; ``patch`` may carry metadata.uid as a precondition."""

    async def patch_json(
        self, kind: Kind, namespace: str, name: str, operations: Sequence[Object], *, manager: str
    ) -> Object:
        """JSON patch (RFC 6902), answered with metadata only."""

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete in the background if the object still has that uid; gone or another uid counts as done."""


class Recorder(Protocol):
    """Tells people what happened, as Events. Nobody waits for it and nothing fails with it."""

    def record(self, about: ServiceKey, uid: str, occurrence: Occurrence) -> None:
        """Note what happened to the AgentService of that uid."""


class Sink(Protocol):
    """Where a reflector puts what it sees of one kind. Called on the loop, must not block."""

    def put_listed(self, item: Object) -> None:
        """The object is in a list."""

    def end_list(self, names: set[Name], resource_version: str, namespace: str | None) -> None:
        """All of a list at that resourceVersion was put: what it does not name is gone, unless known to be newer."""

    def put(self, item: Object) -> None:
        """The object was added or modified."""

    def remove(self, item: Object) -> None:
        """The object was deleted; ``item`` is its last state."""
