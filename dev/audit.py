"""The API server's audit log: who asked for what, and who wrote how often."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from dev.cluster import Cluster
from dev.process import wait_until

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_QUESTIONS = frozenset(
    {
        "tokenreviews",
        "subjectaccessreviews",
        "selfsubjectaccessreviews",
        "selfsubjectrulesreviews",
        "selfsubjectreviews",
    }
)
_FLUSH_DEADLINE = 10.0  # seconds


@dataclass(frozen=True)
class Request:
    """One answered request.

    Args:
        verb: as RBAC names it: get, list, watch, create, update, patch, delete, deletecollection.
        group: the API group, "" for the core one.
        resource: the plural name, "" for a path that is no resource (/version).
        subresource: as in "status", or "".
        namespace: or "".
        name: or "".
        user: who asked; for an impersonated request, as whom.
        user_agent: which program asked.
        code: the HTTP status of the answer.
        at: when it was answered.
        uri: path and query.
    """

    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: str
    user_agent: str
    code: int
    at: datetime
    uri: str

    @property
    def is_write(self) -> bool:
        """Whether it asked for a change that is kept: a dry run is none, nor are questions in the form of a create."""
        return self.verb in _WRITES and "dryRun=" not in self.uri and self.resource not in _QUESTIONS


@dataclass(frozen=True)
class AuditLog:
    """Reads the audit log of a cluster whose API server writes one here.

    Two points in time, each a `mark`, bound what a test counts:

        before = log.mark()
        ...
        assert len(log.writes(user=operator, since=before, until=log.mark())) == 7
    """

    path: Path
    cluster: Cluster

    @classmethod
    def of(cls, cluster: Cluster) -> AuditLog:
        """The log of `cluster`.

        Raises:
            ValueError: its API server writes none that we can read.
        """
        if cluster.audit_log is None:
            raise ValueError(f"cluster {cluster.name} has no audit log: take the control plane of dev.controlplane")
        return cls(cluster.audit_log, cluster)

    def mark(self) -> int:
        """The position after all that was answered before this call.

        The file's end right now may lack the last lines: the server may write one a moment after its client has the
        answer. So a request of our own is sent, and its line waited for.
        """
        agent = f"audit-mark-{uuid.uuid4()}"
        api = self.cluster.api
        end = self.path.stat().st_size
        replace(api, headers={**api.headers, "User-Agent": agent}).get("/version")
        return wait_until(
            lambda: self._position_after(agent.encode(), start=end),
            deadline=_FLUSH_DEADLINE,
            describe=f"our own request {agent} in {self.path}",
            interval=0.01,
        )

    def requests(
        self,
        *,
        user: str | None = None,
        user_agent: str | None = None,
        namespace: str | None = None,
        since: int = 0,
        until: int | None = None,
    ) -> list[Request]:
        """The requests that were answered between two marks, oldest first.

        Args:
            user: only those of this user.
            user_agent: only those of programs whose user agent begins so.
            namespace: only those about objects in it.
            since: a mark; 0: from the beginning.
            until: a mark; None: to the end.
        """
        with self.path.open("rb") as file:
            file.seek(since)
            text = file.read() if until is None else file.read(until - since)
        complete = text[: text.rfind(b"\n") + 1]
        said = [
            word.encode() for word in (user, user_agent, namespace) if word
        ]  # most lines are others': parsing them is slow
        found = [_request(json.loads(line)) for line in complete.splitlines() if all(word in line for word in said)]
        return [
            request
            for request in found
            if user in (None, request.user)
            and namespace in (None, request.namespace)
            and (user_agent is None or request.user_agent.startswith(user_agent))
        ]

    def writes(
        self,
        *,
        user: str | None = None,
        user_agent: str | None = None,
        namespace: str | None = None,
        since: int = 0,
        until: int | None = None,
    ) -> list[Request]:
        """Those of `requests` that asked for a change; refused ones too, which their code shows."""
        asked = self.requests(user=user, user_agent=user_agent, namespace=namespace, since=since, until=until)
        return [request for request in asked if request.is_write]

    def _position_after(self, token: bytes, *, start: int) -> int | None:
        with self.path.open("rb") as file:
            file.seek(start)
            written = file.read()
        found = written.find(token)
        end = written.find(b"\n", found) if found >= 0 else -1
        return start + end + 1 if end >= 0 else None


def _request(event: dict[str, Any]) -> Request:
    target = event.get("objectRef", {})
    return Request(
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        user=event.get("impersonatedUser", event["user"])["username"],
        user_agent=event.get("userAgent", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        at=datetime.fromisoformat(event["stageTimestamp"]),
        uri=event["requestURI"],
    )
