"""What agents can do besides talking."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from agentservice_operator.api.markers import (
    Atomic,
    Cel,
    ListMap,
    PreserveUnknown,
    SetList,
    exactly_one_of,
    matching,
    member_of,
)
from agentservice_operator.api.v1alpha1.base import ApiModel, DnsLabel, RawObject, SecretKeyRef

_SECRET_HEADER = r"(?i)(^(proxy-)?authorization$|cookie|key|token|secret|passw)"  # noqa: S105 - finds names of secrets
_RESERVED_HEADER = (
    r"(?i)^(host|content-length|content-encoding|transfer-encoding|connection|keep-alive|trailer|upgrade|"
    r"accept-encoding|idempotency-key)$"
)
_PROTOCOL_HEADER = r"(?i)^(accept|content-type|last-event-id|mcp-.*)$"
_HOST = r"https?://([-A-Za-z0-9._]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
_LITERAL = r"[-A-Za-z0-9._~%!$&'()*+,;=:@/]"
_SEGMENT = rf"({_LITERAL}|\{{[A-Za-z_][A-Za-z0-9_]*\}})*"

ToolURL = Annotated[
    str,
    Field(min_length=1, max_length=2048),
    matching(
        rf"^{_HOST}(/{_SEGMENT})?(\?({_SEGMENT}|\?)*)?$",
        "url must be an http or https URL whose {placeholders} come after the host, without user information and "
        "fragment: secrets belong into headers",
    ),
]

ServerURL = Annotated[
    str,
    Field(min_length=1, max_length=2048),
    matching(
        rf"^{_HOST}(/{_LITERAL}*)?(\?({_LITERAL}|\?)*)?$",
        "url must be an http or https URL without user information and fragment: secrets belong into headers",
    ),
]

ToolName = Annotated[str, Field(min_length=1, max_length=128, pattern="^[!-~]+$")]


class HeaderSource(ApiModel):
    """Where the value of a header comes from."""

    secret_key_ref: SecretKeyRef
    """Key of a Secret that holds the value, such as `Bearer KEY`. A new value is used without a restart."""


class Header(ApiModel):
    """A header of the requests to a tool."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern="^[-!#$%&'*+.^_|~0-9A-Za-z]+$")]
    """Name of the header."""
    value: Annotated[str | None, Field(min_length=1, max_length=1024, pattern="^[!-~]([ -~]*[!-~])?$")] = None
    """Literal value, no secret."""
    value_from: HeaderSource | None = None
    """Reference to the value."""

    rules: ClassVar = (
        exactly_one_of("value", "valueFrom"),
        Cel(
            f"!has(self.value) || !self.name.matches(r'{_SECRET_HEADER}')",
            "the name says that the value is a secret: put it into a Secret and use valueFrom.secretKeyRef",
            lambda header: header.value is None or re.search(_SECRET_HEADER, header.name) is None,
            ".value",
            "FieldValueForbidden",
        ),
        Cel(
            f"!self.name.matches(r'{_RESERVED_HEADER}')",
            "the runtime sets this header, or it belongs to the connection: remove it",
            lambda header: re.search(_RESERVED_HEADER, header.name) is None,
            ".name",
            "FieldValueForbidden",
        ),
    )


class HTTPTool(ApiModel):
    """A tool that is one HTTP request."""

    description: Annotated[str | None, Field(min_length=1, max_length=4096)] = None
    """What the tool does and when to use it, for the model."""
    method: Literal["GET", "POST"]
    """GET sends the input in the URL, as parameters of the query where it has no placeholder, and may be repeated. POST
    sends the whole input as JSON, with the header `Idempotency-Key`, and is never repeated where nobody knows whether
    it was done."""
    url: ToolURL
    """Address of the tool. Each `{placeholder}` after the host is replaced by that property of the input, encoded. The
    host may be a Service of the cluster, but not the pod itself, a link-local address or the API server."""
    input_schema: Annotated[RawObject, PreserveUnknown(), Atomic()]
    """JSON schema (2020-12) of the input, an object, without `allOf`, `anyOf` and `oneOf` at its root, which models do
    not take there. What the model sends is checked against it."""
    headers: Annotated[list[Header], Field(max_length=16), ListMap("name")] = []
    """Headers of each request. Values of Secrets are hidden in what the tool returns."""

    @property
    def whole_input_schema(self) -> dict[str, Any]:
        """The schema with its type, which goes without saying."""
        return {"type": "object", **self.input_schema}


class MCPServer(ApiModel):
    """The tools of a server that speaks the Model Context Protocol over streamable HTTP."""

    url: ServerURL
    """Address of the server, such as `https://mcp.example.com/mcp`. The host may be a Service of the cluster, but not
    the pod itself, a link-local address or the API server."""
    allowed_tools: Annotated[list[ToolName], Field(min_length=1, max_length=128), SetList()] | None = None
    """Names of the tools that agents may use, as the server has them, and no others. Absent: all that it lists, also in
    the future."""
    headers: Annotated[list[Header], Field(max_length=16), ListMap("name")] = []
    """Headers of each request. Values of Secrets are hidden in what the tools return."""

    rules: ClassVar = (
        Cel(
            f"!has(self.headers) || self.headers.all(header, !header.name.matches(r'{_PROTOCOL_HEADER}'))",
            "headers must not be Accept, Content-Type, Last-Event-ID or begin with MCP-: the protocol has them",
            lambda server: all(re.search(_PROTOCOL_HEADER, header.name) is None for header in server.headers),
            ".headers",
            "FieldValueForbidden",
        ),
    )


class WebSearch(ApiModel):
    """The web search of a model's provider."""

    max_uses: Annotated[int, Field(ge=1, le=20)] = 5
    """Most searches of one model call. The provider bills each of them."""


class Tool(ApiModel):
    """Something that agents can do."""

    name: DnsLabel
    """Name of the tool, unique in the AgentService. The model calls an HTTP tool by this name, and a tool of an MCP
    server by `NAME_TOOL`."""
    type: Literal["HTTP", "MCP", "WebSearch"]
    """HTTP: a request to an address. MCP: the tools of a server. WebSearch: the model's provider searches the web, with
    provider Anthropic."""
    http: HTTPTool | None = None
    """The request, with type HTTP."""
    mcp: MCPServer | None = None
    """The server, with type MCP."""
    web_search: WebSearch | None = None
    """The search, with type WebSearch."""
    timeout_seconds: Annotated[int, Field(ge=1, le=600)] = 20
    """How long a call may take. The model is told if it takes longer. Of a WebSearch the provider decides that."""

    approval: Literal["Never", "Always"] = "Never"
    """Always: a person allows or denies each call, by the request's task. Of a server it goes for all its tools."""

    rules: ClassVar = (
        *member_of("type", {"HTTP": "http", "MCP": "mcp", "WebSearch": "webSearch"}),
        Cel(
            "self.type != 'WebSearch' || self.approval == 'Never'",
            "the provider searches within its answer, where nobody can be asked: remove approval, or the tool",
            lambda tool: tool.type != "WebSearch" or tool.approval == "Never",
            ".approval",
        ),
    )

    @property
    def headers(self) -> list[Header]:
        """Of its requests."""
        return (self.http.headers if self.http else []) + (self.mcp.headers if self.mcp else [])
