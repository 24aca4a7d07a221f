"""What the answers of an API server mean to us: one exception per way to react."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from agentservice_operator.engine.ports import AlreadyExists, Conflict, Forbidden, KubernetesError, Object, Rejected

_MESSAGE_LIMIT = 800
_DENIED_BY_ADMISSION = re.compile(r"denied (?:the )?request|violates PodSecurity")
"""ValidatingAdmissionPolicy, admission webhooks, Pod Security: they judge the object, not who sends it."""


class NotFound(KubernetesError):  # noqa: N818 - the API's own word
    """404: no such object, or no such kind."""


class Expired(KubernetesError):  # noqa: N818 - the API's own word
    """410: the resourceVersion or the continue token is older than what the server remembers; list again."""


_UID = "metadata.uid"
"""A patch that names another uid than the live one is told that the field is immutable; for us it is a precondition."""
_UNTYPED = "failed to create typed patch object"
"""The apply does not fit the schema; the API server calls that its own error."""

_BY_STATUS: dict[int, type[KubernetesError]] = {
    HTTPStatus.BAD_REQUEST: Rejected,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Expired,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Rejected,
    HTTPStatus.UNPROCESSABLE_ENTITY: Rejected,
}


def error_from(status: int, body: bytes, *, subject: str, headers: Mapping[str, str] | None = None) -> KubernetesError:
    """Turn a refusal into the exception to raise.

    Args:
        status: the HTTP status.
        body: as received; mostly a ``Status`` object, from a proxy in between it may be anything.
        subject: what was asked, such as ``apply Deployment default/hello``; starts the message.
        headers: of the answer, for ``Retry-After``.

    Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
    """
    answer = _parse(body)
    return error_from_status(
        answer, status=status, subject=subject, retry_after=_seconds((headers or {}).get("Retry-After"))
    )


def error_from_status(
    answer: Object, *, subject: str, status: int | None = None, retry_after: float | None = None
) -> KubernetesError:
    """Turn a ``Status`` object, also one inside a watch, into the exception to raise."""
    code = status or int(answer.get("code") or HTTPStatus.INTERNAL_SERVER_ERROR)
    details: Mapping[str, Any] = answer.get("details") or {}
    told = str(answer.get("message") or answer.get("reason") or "no message")
    message = f"{subject}: {code} {_shorten(told)}"
    if code == HTTPStatus.FORBIDDEN:
        return _forbidden(message, told, details)
    if retry_after is None and details.get("retryAfterSeconds"):
        retry_after = float(details["retryAfterSeconds"])
    return _reaction(code, answer, told, details)(message, status=code, retry_after=retry_after)


def _reaction(code: int, answer: Object, told: str, details: Mapping[str, Any]) -> type[KubernetesError]:
    if code == HTTPStatus.CONFLICT and answer.get("reason") == "AlreadyExists":
        return AlreadyExists
    if code == HTTPStatus.CONFLICT and details.get("kind") == "resourcequotas":  # a race inside the server: ask again
        return KubernetesError
    if code == HTTPStatus.UNPROCESSABLE_ENTITY and _UID in {cause.get("field") for cause in _causes(details)}:
        return Conflict
    if code == HTTPStatus.INTERNAL_SERVER_ERROR and told.startswith(_UNTYPED):
        return Rejected
    return _BY_STATUS.get(code, KubernetesError)


def _forbidden(message: str, told: str, details: Mapping[str, Any]) -> KubernetesError:
    if (
        "NamespaceTerminating" in {cause.get("reason") for cause in _causes(details)}
        or "because it is being terminated" in told
    ):
        return Forbidden(message, terminating=True)
    if "exceeded quota" in told or "failed quota" in told:
        return Forbidden(message, quota=True)
    if _DENIED_BY_ADMISSION.search(told):
        return Rejected(message, status=403)
    return Forbidden(message)


def _causes(details: Mapping[str, Any]) -> list[Object]:
    return details.get("causes") or []


def _parse(body: bytes) -> Object:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {"message": body[:_MESSAGE_LIMIT].decode(errors="replace").strip()}
    return answer if isinstance(answer, dict) else {"message": str(answer)}


def _seconds(retry_after: str | None) -> float | None:
    """Read a ``Retry-After`` in seconds, the only form that Kubernetes sends."""
    return float(retry_after) if retry_after and retry_after.strip().isdigit() else None


def _shorten(message: str) -> str:
    """Keep both ends: the object and field come first, the broken rule comes last, the value quoted between."""
    if len(message) <= _MESSAGE_LIMIT:
        return message
    half = _MESSAGE_LIMIT // 2
    return f"{message[:half]} ... {message[-half:]}"
