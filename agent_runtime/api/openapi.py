"""The OpenAPI document of the application. Bodies are read by us, not by FastAPI, so it is told here what they are."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema
from starlette.responses import Response

from agent_runtime import __version__
from agent_runtime.pipeline.identity import OPEN_PATHS

IDEMPOTENCY_KEY = {"Idempotency-Key": "the same request with the same key is answered once"}
"""Header of what costs money."""

_REFERENCE = "#/components/schemas/{model}"
_MODELS: dict[str, type[BaseModel]] = {}


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[dict[str, str]] = []
    retry_after: int = 0
    """Only in batches, where the header of this name cannot stand."""


def operation(
    summary: str,
    *,
    body: type[BaseModel] | None = None,
    answer: type[BaseModel] | None = None,
    events: bool = False,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    """What the document says of a route, as arguments of its decorator.

    Args:
        summary: what it does.
        body: of a request.
        answer: the document of an answer.
        events: whether it may answer by server-sent events.
        headers: of a request, with what they are for.
    """
    content: dict[str, Any] = {}
    if answer is not None:
        content["application/json"] = {"schema": _reference(answer)}
    if events:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    described: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": {"description": "The answer", "content": content}},
        "parameters": [
            {"name": name, "in": "header", "description": about, "schema": {"type": "string"}}
            for name, about in (headers or {}).items()
        ],
    }
    if body is not None:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": _reference(body)}}}
    return {"openapi_extra": described, "response_class": Response}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document of all routes of `app`."""
    document = get_openapi(title="Agent runtime", version=__version__, routes=app.routes)
    models: list[type[BaseModel]] = [Problem, *_MODELS.values()]
    modes: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in models]
    _, definitions = models_json_schema(modes, ref_template=_REFERENCE)
    problem = {"application/problem+json": {"schema": _reference(Problem)}}
    components = document.setdefault("components", {})
    components["schemas"] = definitions["$defs"]
    components["securitySchemes"] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    document["security"] = [{"key": []}, {"bearer": []}]
    for path, operations in document["paths"].items():
        for described in operations.values():
            described["responses"].pop("422", None)  # FastAPI's word for parameters that it checks: ours are text
            described["responses"]["default"] = {"description": "A problem", "content": problem}
            if path in OPEN_PATHS:
                described["security"] = []
    return document


def _reference(model: type[BaseModel]) -> dict[str, str]:
    _MODELS[model.__name__] = model
    return {"$ref": _REFERENCE.format(model=model.__name__)}
