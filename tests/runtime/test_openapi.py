"""The OpenAPI document says what really goes in and comes out, and is shown to those who may see it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import httpx2
import jsonschema  # type: ignore[import-untyped]  # has no types
import pytest
from fastapi import FastAPI

from agent_runtime.agent.providers.echo import EchoProvider
from agent_runtime.api.errors import CATALOGUE
from agent_runtime.api.openapi import openapi_document
from tests.runtime.runtime_process import KEY, RuntimeProcess, parse_events, runtime_process
from tests.runtime.test_application import application

NOT_OF_AN_OPERATION = {
    "not_found",  # of paths without any
    "method_not_allowed",
    "run_canceled",  # nobody is there to be told by a status
    "task_abandoned",  # these two are errors of tasks
    "approval_expired",
}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeProcess]:
    """A runtime that shows its document."""
    with runtime_process(tmp_path_factory.mktemp("described"), api_docs=True) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def document(described: RuntimeProcess) -> dict[str, Any]:
    """The document, as it is served."""
    response = described.client.get("/openapi.json")
    assert response.status_code == 200, response.text
    served: dict[str, Any] = response.json()
    return served


def assert_as_documented(document: dict[str, Any], response: httpx2.Response, path: str) -> None:
    """The status, the headers and the body of a response are those that the document has for `path`."""
    responses = document["paths"][path][response.request.method.lower()]["responses"]
    described = responses[str(response.status_code)]
    for name, reference in described["headers"].items():
        required = document["components"]["headers"][reference["$ref"].rpartition("/")[2]].get("required", False)
        assert not required or name in response.headers
    if response.content:
        content = described["content"][response.headers["content-type"].partition(";")[0]]
        if "itemSchema" in content:
            schema = content["itemSchema"]["properties"]["data"]["contentSchema"]
            said = [event.data for event in parse_events(response.text)]
        else:
            schema, said = content["schema"], [response.json()]
        for each in said:
            jsonschema.validate(each, schema | {"components": document["components"]})


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


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
        ("/v1/tasks", {"message": "Hi", "metadata": {"a": "b"}}),
        ("/v1/tasks", {"message": " "}),
    ],
)
def test_answers_are_as_the_document_says(
    described: RuntimeProcess, document: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    response = described.client.post(path, json=body, headers={"X-API-Key": KEY})

    assert_as_documented(document, response, path)


def test_what_is_read_is_as_the_document_says(described: RuntimeProcess, document: dict[str, Any]) -> None:
    conversation = described.chat().json()["conversation_id"]
    values = {"conversation_id": conversation, "name": "main", "run_id": "0" * 32}
    task = described.client.post("/v1/tasks", json={"message": "Hi"}, headers={"X-API-Key": KEY}).json()
    values["task_id"] = task["id"]

    for path, methods in document["paths"].items():
        if "get" in methods:
            address = re.sub(r"{(\w+)}", lambda match: values[match[1]], path)
            response = described.client.get(address, headers={"X-API-Key": KEY})
            assert response.status_code < 500, response.text
            assert_as_documented(document, response, path)


def test_a_caller_without_a_key_gets_what_the_document_says(
    described: RuntimeProcess, document: dict[str, Any]
) -> None:
    for path, methods in document["paths"].items():
        for method in methods:
            assert_as_documented(document, described.client.request(method.upper(), path), path)


def test_every_operation_says_what_goes_in_and_all_that_may_come_out(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, operation in operations(document).items():
        assert operation["tags"], name
        assert operation["summary"], name
        for parameter in operation.get("parameters", []):
            assert "schema" in parameter, name
        if name.startswith("POST") and "requestBody" in operation:
            [content] = operation["requestBody"]["content"].values()
            assert schemas[content["schema"]["$ref"].rpartition("/")[2]]["additionalProperties"] is False, name
        assert "500" in operation["responses"], name
        for status, response in operation["responses"].items():
            assert status == "204" or response["content"], f"{name} {status}"
            for media_type, content in response.get("content", {}).items():
                event = media_type == "text/event-stream"
                schema = content["itemSchema"]["properties"]["data"]["contentSchema"] if event else content["schema"]
                assert schema["$ref"].rpartition("/")[2] in schemas, name


def test_every_problem_is_told_of_some_operation(document: dict[str, Any]) -> None:
    told = {
        (code, int(status))
        for operation in operations(document).values()
        for status, response in operation["responses"].items()
        for code in re.findall(r"`(\w+)`", response["description"])
    }

    kinds = {(code, kind.status) for code, kind in CATALOGUE.items() if code not in NOT_OF_AN_OPERATION}
    assert told == kinds


def test_what_needs_no_key_says_so(document: dict[str, Any]) -> None:
    needing_none = [name for name, operation in operations(document).items() if operation.get("security") == []]

    assert needing_none == ["GET /health/live", "GET /health/ready"]


def test_a_route_that_says_nothing_of_itself_is_a_fault(tmp_path: Path) -> None:
    app = cast("FastAPI", application(tmp_path, EchoProvider()))
    app.add_api_route("/v1/undescribed", lambda: None)

    with pytest.raises(LookupError, match="GET /v1/undescribed"):
        openapi_document(app)


def test_the_document_is_not_shown_unless_asked_for(echo_runtime: RuntimeProcess) -> None:
    for path in ("/openapi.json", "/docs", "/docs/swagger-ui.css"):
        assert echo_runtime.client.get(path).status_code == 401
        assert echo_runtime.client.get(path, headers={"X-API-Key": KEY}).status_code == 404


class References(HTMLParser):
    """What a page makes a browser load, and what stands in it to be run."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.code: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what it refers to."""
        self._in_script = tag in {"script", "style"}
        self.addresses += [value for name, value in attrs if name in {"src", "href"} and value]
        self.code += [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        """Note code."""
        if self._in_script and data.strip():
            self.code.append(data)


def test_the_page_has_all_that_it_needs_from_the_runtime_and_runs_nothing_else(described: RuntimeProcess) -> None:
    page = described.client.get("/docs")
    references = References()
    references.feed(page.text)

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert references.code == []
    assert len(references.addresses) == 4
    for address in references.addresses:
        # Without a slash before it: a proxy may serve the page below a path that we do not know.
        assert address.startswith("docs/")
        loaded = described.client.get(f"/{address}")
        assert loaded.status_code == 200
        assert loaded.content
        assert loaded.headers["x-content-type-options"] == "nosniff"
