"""The OpenAPI document says what really goes in and comes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import httpx2
import jsonschema  # type: ignore[import-untyped]  # has no types
import pytest
from fastapi import FastAPI

from agent_runtime.agent.providers.echo import EchoProvider
from agent_runtime.api.openapi import openapi_document
from tests.runtime.runtime_process import KEY, RuntimeProcess
from tests.runtime.test_application import application


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    """The document of the whole application."""
    return openapi_document(cast("FastAPI", application(tmp_path, EchoProvider())))


def assert_as_documented(document: dict[str, Any], response: httpx2.Response) -> None:
    path, method = response.request.url.path, response.request.method.lower()
    responses = document["paths"][path][method]["responses"]
    content = responses.get(str(response.status_code), responses["default"])["content"]
    schema = content[response.headers["content-type"].partition(";")[0]]["schema"]
    if "json" in response.headers["content-type"]:
        jsonschema.validate(response.json(), schema | {"components": document["components"]})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat", {"message": "Hi", "metadata": {"a": "b"}}),
        ("/v1/chat", {"message": "Hi", "store": False}),
        ("/v1/chat", {"message": "Hi", "stream": True}),
        ("/v1/chat", {"message": " "}),
        ("/v1/chat/stream", {"message": "Hi"}),
        ("/v1/chat/batch", {"items": [{"message": "Hi"}, {"message": " "}, {"message": "Hi", "agent": "nobody"}]}),
        ("/v1/chat/batch", {"items": []}),
    ],
)
def test_answers_are_as_the_document_says(
    echo_runtime: RuntimeProcess, document: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    response = echo_runtime.client.post(path, json=body, headers={"X-API-Key": KEY})

    assert_as_documented(document, response)


def test_paths_without_a_body_are_as_the_document_says(echo_runtime: RuntimeProcess, document: dict[str, Any]) -> None:
    for path in ("/", "/health/live", "/health/ready"):
        assert_as_documented(document, echo_runtime.client.get(path, headers={"X-API-Key": KEY}))


def test_every_operation_that_takes_a_body_says_which(document: dict[str, Any]) -> None:
    posts = {path: operations["post"] for path, operations in document["paths"].items() if "post" in operations}

    assert {"/v1/chat", "/v1/chat/stream", "/v1/chat/batch"} <= posts.keys()
    for path in ("/v1/chat", "/v1/chat/stream", "/v1/chat/batch"):
        [content] = posts[path]["requestBody"]["content"].values()
        name = content["schema"]["$ref"].removeprefix("#/components/schemas/")
        assert document["components"]["schemas"][name]["additionalProperties"] is False


def test_what_needs_no_key_says_so(document: dict[str, Any]) -> None:
    needing_none = [
        path for path, operations in document["paths"].items() if operations.get("get", {}).get("security") == []
    ]

    assert needing_none == ["/health/live", "/health/ready"]
