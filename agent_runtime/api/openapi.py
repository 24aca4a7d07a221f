"""The OpenAPI document of the application. Bodies are read by us, not by FastAPI, so it is told here what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from agent_runtime import __version__
from agent_runtime.api.errors import (
    BODY_TIMEOUT,
    BODY_TOO_LARGE,
    IDEMPOTENCY_IN_FLIGHT,
    IDEMPOTENCY_KEY_REUSED,
    INTERNAL_ERROR,
    INVALID_HEADER,
    INVALID_INPUT,
    MALFORMED_JSON,
    STATE_UNAVAILABLE,
    UNAUTHENTICATED,
    UNSUPPORTED_MEDIA_TYPE,
    ProblemKind,
)
from agent_runtime.pipeline.idempotency import IDEMPOTENCY_KEY
from agent_runtime.pipeline.identity import OPEN_PATHS

_RESPONSES = "x-responses"
"""Where `operation` leaves the answers of a route: those that FastAPI would add are not given."""
_IDEMPOTENCY_KEY = {
    "Idempotency-Key": {
        "description": "The same request with the same key is answered once in a day.",
        "schema": {"type": "string", "pattern": IDEMPOTENCY_KEY},
    }
}
_OF_IDEMPOTENCY = (INVALID_HEADER, IDEMPOTENCY_IN_FLIGHT, IDEMPOTENCY_KEY_REUSED, STATE_UNAVAILABLE)
_OF_BODY = (MALFORMED_JSON, BODY_TIMEOUT, UNSUPPORTED_MEDIA_TYPE, INVALID_INPUT)
_OF_ALL = (BODY_TOO_LARGE, INTERNAL_ERROR)

_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {"description": "Yours, or one of ours; the logs have it, too.", "required": True},
    "X-Process-Time": {"description": "Seconds until the answer began.", "required": True},
    "Retry-After": {"description": "Whole seconds after which the request may be repeated."},
    "WWW-Authenticate": {"description": "How to show a key.", "required": True},
    "x-should-retry": {"description": "`false` where to repeat the request would only cost money."},
    "Location": {"description": "Path of the task that will have the answer.", "required": True},
    "Idempotent-Replayed": {"description": "`true` where the answer was given before."},
}
_REFERENCE = "#/components/schemas/{model}"
_MODELS: dict[str, type[BaseModel]] = {}


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    type: str
    title: str
    status: int
    detail: str
    """What went wrong this time, and what to do."""
    instance: str
    """Path of the request."""
    code: str
    """For programs; the documentation of the runtime lists them."""
    request_id: str
    errors: list[dict[str, str]] = []
    """Single faults of the input: where, and what."""
    retry_after: int = 0
    """Only in batches, where the header of this name cannot stand."""


def operation(
    summary: str,
    *,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    headers: Mapping[str, Mapping[str, Any]] | None = None,
    idempotent: bool = False,
    statuses: Iterable[HTTPStatus] = (HTTPStatus.OK,),
    answer: type[BaseModel] | None = None,
    accepted: type[BaseModel] | None = None,
    events: type[BaseModel] | None = None,
    problems: Iterable[ProblemKind] = (),
) -> dict[str, Any]:
    """What the document says of a route, as arguments of its decorator.

    Args:
        summary: what it does.
        body: of a request.
        query: of a request.
        headers: of a request, each with its description and its schema.
        idempotent: whether a request may have an Idempotency-Key.
        statuses: that an answer may have.
        answer: its document.
        accepted: the document of an answer 202, which says where the answer will be.
        events: the data of the server-sent events by which it may answer.
        problems: what may go wrong, besides what may go wrong with every request, body, query and key.
    """
    content: dict[str, Any] = {}
    if answer is not None:
        content["application/json"] = {"schema": _reference(answer)}
    if events is not None:
        content["text/event-stream"] = {"itemSchema": _event(events)}
    replayed = ["Idempotent-Replayed"] if idempotent else []
    kinds = [
        *_OF_ALL,
        *problems,
        *(_OF_BODY if body is not None else ()),
        *((INVALID_INPUT,) if query is not None else ()),
        *(_OF_IDEMPOTENCY if idempotent else ()),
    ]
    described: dict[str, Any] = {
        "summary": summary,
        "parameters": [
            *_header_parameters({**(headers or {}), **(_IDEMPOTENCY_KEY if idempotent else {})}),
            *(_query_parameters(query) if query is not None else ()),
        ],
        _RESPONSES: {
            **{str(status.value): _response(status.phrase, content, replayed) for status in statuses},
            **({} if accepted is None else _accepted(accepted, replayed)),
            **_problems(kinds),
        },
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": _reference(body)}}}
    return {"openapi_extra": described, "response_class": Response}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document of all routes of `app`.

    Raises:
        LookupError: a route says nothing of its answers.
    """
    document = get_openapi(
        title="Agent runtime",
        version=__version__,
        description="Agents over HTTP. Every answer that is none is a problem with a `code`.",
        routes=app.routes,
        servers=[{"url": "."}],  # where the document is, also behind a proxy that puts a path before ours
    )
    models: list[type[BaseModel]] = [Problem, *_MODELS.values()]
    modes: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in models]
    _, definitions = models_json_schema(modes, ref_template=_REFERENCE)
    document["components"] = {
        "schemas": definitions["$defs"],
        "headers": {name: {**header, "schema": {"type": "string"}} for name, header in _HEADERS.items()},
        "securitySchemes": {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        },
    }
    document["security"] = [{"key": []}, {"bearer": []}]
    for path, operations in document["paths"].items():
        for method, described in operations.items():
            if _RESPONSES not in described:
                raise LookupError(f"{method.upper()} {path}: declare it by operation()")
            described["responses"] = described.pop(_RESPONSES)
            if path in OPEN_PATHS:
                described["security"] = []
            else:
                described["responses"] |= _problems([UNAUTHENTICATED])
    return document


def _accepted(document: type[BaseModel], headers: Iterable[str]) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(document)}}
    status = HTTPStatus.ACCEPTED
    return {str(status.value): _response(status.phrase, content, ["Location", *headers])}


def _problems(kinds: Iterable[ProblemKind]) -> dict[str, Any]:
    """The answers of these kinds, by status."""
    by_status: dict[int, dict[str, ProblemKind]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, {})[kind.code] = kind
    content = {"application/problem+json": {"schema": _reference(Problem)}}
    return {
        str(status): _response(
            "; ".join(f"`{kind.code}`: {kind.title}" for kind in by_code.values()),
            content,
            _headers_of_problems(status, by_code.values()),
        )
        for status, by_code in sorted(by_status.items())
    }


def _headers_of_problems(status: int, kinds: Iterable[ProblemKind]) -> Iterable[str]:
    if status == HTTPStatus.UNAUTHORIZED:
        yield "WWW-Authenticate"
    if status in {HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        yield "Retry-After"
    if not all(kind.repeatable for kind in kinds):
        yield "x-should-retry"


def _response(description: str, content: dict[str, Any], headers: Iterable[str]) -> dict[str, Any]:
    names = ["X-Request-ID", "X-Process-Time", *headers]
    described = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
    return {"description": description, "headers": described, **({"content": content} if content else {})}


def _header_parameters(headers: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": name, "in": "header", **described} for name, described in headers.items()]


def _event(data: type[BaseModel]) -> dict[str, Any]:
    """A server-sent event, as OpenAPI 3.2 describes them and FastAPI does already."""
    text = {"type": "string", "contentMediaType": "application/json", "contentSchema": _reference(data)}
    return {
        "type": "object",
        "properties": {"id": {"type": "string"}, "event": {"type": "string"}, "data": text},
        "required": ["event", "data"],
    }


def _query_parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(ref_template=_REFERENCE)
    return [
        {"name": name, "in": "query", "description": about.pop("description", ""), "schema": about}
        for name, about in schema["properties"].items()
    ]


def _reference(model: type[BaseModel]) -> dict[str, str]:
    _MODELS[model.__name__] = model
    return {"$ref": _REFERENCE.format(model=model.__name__)}
