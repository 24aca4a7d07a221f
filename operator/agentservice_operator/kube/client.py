"""Reads and writes of single objects: what the engine's port ``Kubernetes`` promises, on raw JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from kubernetes.aio.client import ApiClient

from agentservice_operator.engine.kinds import Kind
from agentservice_operator.engine.ports import Conflict, Object
from agentservice_operator.kube.decoding import decode
from agentservice_operator.kube.errors import NotFound
from agentservice_operator.kube.retry import with_retries
from agentservice_operator.kube.transport import (
    APPLY_PATCH,
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    METADATA_ONLY,
    METADATA_ONLY_LIST,
    OnRequest,
    Request,
    Transport,
)

PAGE = 100
"""Objects per page of a list. kubectl asks for 500, of which the Deployments alone would take 20 MiB for a moment."""


class KubeClient:
    """The engine's ``Kubernetes``, with retries, and a gate before every write.

    Args:
        api_client: see ``transport.connect``; the caller closes it.
        before_write: called before each mutating request and each repetition of one; raises ``NotLeader`` to stop it.
        on_request: told verb, kind and status of every answer, for metrics.
    """

    def __init__(
        self,
        api_client: ApiClient,
        *,
        before_write: Callable[[], None] | None = None,
        on_request: OnRequest | None = None,
    ) -> None:
        self.transport = Transport(api_client, on_request=on_request)
        self._before_write = before_write

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Read the live object; None where there is none."""
        return await self._get(kind, namespace, name, accept=JSON)

    async def get_metadata(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Read apiVersion, kind and metadata only: no secret value travels."""
        return await self._get(kind, namespace, name, accept=METADATA_ONLY)

    async def find(self, kind: Kind, namespace: str, *, field_selector: str, limit: int) -> list[Object]:
        """Read at most ``limit`` objects that the selector matches, by one request."""
        query = {"fieldSelector": field_selector, "limit": str(limit)}
        page = await self._read(Request("list", kind.kind, "GET", kind.path(namespace), name=namespace, query=query))
        return [typed(item, kind) for item in page["items"] or ()]

    async def list(self, kind: Kind, namespace: str | None, *, label_selector: str | None = None) -> list[Object]:
        """Read every object of a kind that the selector matches, in one namespace or in all (None)."""
        found: list[Object] = []
        async for page in self.pages(kind, namespace, label_selector=label_selector):
            found += (typed(item, kind) for item in page["items"] or ())
        return found

    async def pages(
        self, kind: Kind, namespace: str | None, *, label_selector: str | None = None, metadata_only: bool = False
    ) -> AsyncIterator[Object]:
        """Read a list page by page, all of one moment: each is a List object with ``items`` and ``metadata``.

        Raises:
            Expired: the server forgot that moment before the last page.
        """
        query = {"limit": str(PAGE)}
        if label_selector:
            query["labelSelector"] = label_selector
        request = Request(
            "list",
            kind.kind,
            "GET",
            kind.path(namespace),
            name=namespace or "",
            accept=METADATA_ONLY_LIST if metadata_only else JSON,
        )
        while True:
            page: Object = await self._read(replace(request, query=dict(query)))
            yield page
            token = page["metadata"].get("continue")
            if not token:
                return
            query["continue"] = token

    async def apply(self, kind: Kind, intent: Object, *, manager: str, force: bool = True) -> Object:
        """Server-side apply; return the live object.

        Raises:
            Conflict: without ``force``, another manager owns a field with another value.
            Rejected: the object is not acceptable.
            Forbidden: quota, a terminating namespace, or missing RBAC.
        """
        return await self._apply(kind, intent, manager=manager, force=force)

    async def apply_status(self, kind: Kind, intent: Object, *, manager: str) -> Object:
        """Server-side apply to the status subresource; return the live object."""
        return await self._apply(kind, intent, manager=manager, force=True, subresource="status")

    async def create(self, kind: Kind, intent: Object, *, manager: str) -> Object:
        """Create, and return the metadata of what was made.

        Raises:
            AlreadyExists: also where a first answer was lost and the object is our own; read it to tell.
        """
        metadata = intent["metadata"]
        request = Request(
            "create",
            kind.kind,
            "POST",
            kind.path(metadata["namespace"]),
            name=f"{metadata['namespace']}/{metadata['name']}",
            query={"fieldManager": manager},
            body=intent,
            accept=METADATA_ONLY,
        )
        return typed(await self._write(request), kind)

    async def patch_metadata(self, kind: Kind, namespace: str, name: str, patch: Object, *, manager: str) -> Object:
        """Apply a JSON merge patch, and return the metadata.

        Raises:
            Conflict: ``patch`` names a uid or resourceVersion that is not the live one.
        """
        return await self._patch(kind, namespace, name, patch, content_type=MERGE_PATCH, manager=manager)

    async def patch_json(
        self, kind: Kind, namespace: str, name: str, operations: Sequence[Object], *, manager: str
    ) -> Object:
        """Apply a JSON patch, all of it or nothing, and return the metadata.

        Raises:
            Conflict: it sets a uid or resourceVersion that is not the live one.
            Rejected: an operation cannot be done, such as a copy of what is not there.
        """
        return await self._patch(kind, namespace, name, operations, content_type=JSON_PATCH, manager=manager)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str) -> None:
        """Delete in the background if the object still has that uid; gone or another uid counts as done."""
        request = Request(
            "delete",
            kind.kind,
            "DELETE",
            kind.path(namespace, name),
            name=f"{namespace}/{name}",
            body={"propagationPolicy": "Background", "preconditions": {"uid": uid}},
            accept=METADATA_ONLY,
        )
        try:
            await self._write(request)
        except (NotFound, Conflict):
            return

    async def _get(self, kind: Kind, namespace: str, name: str, *, accept: str) -> Object | None:
        request = Request(
            "get", kind.kind, "GET", kind.path(namespace, name), name=f"{namespace}/{name}", accept=accept
        )
        try:
            return typed(await self._read(request), kind)
        except NotFound:
            return None

    async def _apply(
        self, kind: Kind, intent: Object, *, manager: str, force: bool, subresource: str | None = None
    ) -> Object:
        metadata = intent["metadata"]
        query = {"fieldManager": manager}
        if force:
            query["force"] = "true"
        request = Request(
            f"apply_{subresource}" if subresource else "apply",
            kind.kind,
            "PATCH",
            kind.path(metadata["namespace"], metadata["name"], subresource),
            name=f"{metadata['namespace']}/{metadata['name']}",
            query=query,
            body=intent,
            content_type=APPLY_PATCH,
        )
        return await self._write(request)

    async def _patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Object | Sequence[Object],
        *,
        content_type: str,
        manager: str,
    ) -> Object:
        request = Request(
            "patch",
            kind.kind,
            "PATCH",
            kind.path(namespace, name),
            name=f"{namespace}/{name}",
            query={"fieldManager": manager},
            body=body,
            content_type=content_type,
            accept=METADATA_ONLY,
        )
        return typed(await self._write(request), kind)

    async def _read(self, request: Request) -> Object:
        answer: Object = decode(await with_retries(lambda: self.transport.send(request)))
        return answer

    async def _write(self, request: Request) -> Object:
        answer: Object = decode(await with_retries(lambda: self.transport.send(request, before=self._before_write)))
        return answer


def typed(item: Object, kind: Kind) -> Object:
    """Name the kind that an answer is about, where the server left it out (in lists) or put PartialObjectMetadata."""
    item["apiVersion"] = kind.api_version
    item["kind"] = kind.kind
    return item
