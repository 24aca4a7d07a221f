"""HTTP tools: a call is one request to the address that the AgentService names."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import httpx2
import orjson
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # has no types
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]  # as above
from referencing import Registry

from agent_runtime import __version__
from agent_runtime.agent.model import Block
from agent_runtime.agent.tools.headers import open_headers
from agent_runtime.agent.tools.outbound import CONNECT_SECONDS, CheckedTransport, ForbiddenAddressError
from agent_runtime.agent.tools.tool import Tool, ToolCallError, ToolOutput
from agent_runtime.config import HttpToolConfig, ToolConfig
from agent_runtime.input_schema import input_schema_fault
from agent_runtime.settings import ConfigurationError

ANSWER_LIMIT_BYTES = 256 * 1024
"""Of an answer that is read; the model is shown less of it."""
_FAULT_LIMIT_CHARACTERS = 500
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SEPARATORS = re.compile(r"[/\\]")
_REFUSED = httpx2.codes.BAD_REQUEST


class HttpTool:
    """One HTTP tool.

    Args:
        config: of type HTTP.
        tls: what verifies the server.
        loopback: whether the tool may be on this machine.

    Raises:
        ConfigurationError: its schema is none, or the file of a header has no value.
    """

    fault: str | None = None

    def __init__(self, config: ToolConfig, http: HttpToolConfig, tls: ssl.SSLContext, *, loopback: bool) -> None:
        self.source = config.name
        self.timeout_seconds = config.timeout_seconds
        self.needs_approval = config.approval == "Always"
        self.repeatable = http.method == "GET"
        self.definition: Block = {
            "name": config.name,
            **({"description": http.description} if http.description else {}),
            "input_schema": http.input_schema,
        }
        self._method = http.method
        self._url = http.url
        self._validator = _validator(config.name, http.input_schema)
        self._headers = open_headers(f"tools[{config.name}].http.headers", http.headers)
        self._transport = CheckedTransport(tls, loopback=loopback)

    async def offered(self) -> tuple[Tool, ...]:
        """Itself."""
        return (self,)

    async def call(self, arguments: dict[str, Any], *, call_id: str) -> ToolOutput:
        """Send the request; see Tool.call."""
        fault = best_match(self._validator.iter_errors(arguments))
        if fault is not None:
            place = f"{fault.json_path}: " if fault.path else ""
            raise ToolCallError("invalid_input", f"{place}{fault.message}"[:_FAULT_LIMIT_CHARACTERS])
        request = await self._request(arguments, call_id)
        try:
            status, body = await self._exchange(request)
        except ForbiddenAddressError as error:
            raise ToolCallError("unavailable", f"The tool may not be called: {error}.") from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise ToolCallError("unavailable", "The tool cannot be reached.") from None
        except httpx2.TransportError:
            if self.repeatable:
                raise ToolCallError("error", "The tool broke off its answer.") from None
            raise ToolCallError(
                "outcome_unknown", "The tool broke off its answer: what it was to do may be done or not."
            ) from None
        body = self._headers.redact(body)
        if status < httpx2.codes.MULTIPLE_CHOICES:
            return ToolOutput(body)
        return ToolOutput(f"HTTP status {status}\n{body}", is_error=True)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _request(self, arguments: dict[str, Any], call_id: str) -> httpx2.Request:
        headers = httpx2.Headers({"User-Agent": f"agentservice-runtime/{__version__}", "Accept": "*/*"})
        content = None
        if self._method == "POST":
            headers |= {"Content-Type": "application/json", "Idempotency-Key": call_id}
            content = orjson.dumps(arguments)
        headers.update(await self._headers.current())
        # Decompressed, a small answer could fill the memory.
        headers["Accept-Encoding"] = "identity"
        timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS).as_dict()
        url = filled(self._url, arguments) if self._method == "POST" else addressed(self._url, arguments)
        return httpx2.Request(self._method, url, headers=headers, content=content, extensions={"timeout": timeout})

    async def _exchange(self, request: httpx2.Request) -> tuple[int, str]:
        """Status and text of the answer. Without a client: it would follow redirects and keep cookies for others."""
        response = await self._transport.handle_async_request(request)
        try:
            if response.is_redirect:
                return response.status_code, "The tool redirects to another address, which is not followed."
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ToolCallError("error", "The tool answered with compressed content, which it was not asked for.")
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > ANSWER_LIMIT_BYTES:
                    break
        finally:
            await response.aclose()
        return response.status_code, _text(bytes(body[:ANSWER_LIMIT_BYTES]), response.charset_encoding)


def addressed(template: str, arguments: dict[str, Any]) -> str:
    """The URL of a request without a body: filled, and with a parameter of the query for each other argument.

    The form is OpenAPI's for parameters of a query (style ``form``, exploded): a list repeats the name, null is left
    out. Objects have no form there that could not be taken for other parameters, so they are JSON.

    Raises:
        ToolCallError: see `filled`; or an argument would change a parameter that the URL fixes.
    """
    url = filled(template, arguments)
    placeholders = set(_PLACEHOLDER.findall(template))
    others = {name: value for name, value in arguments.items() if name not in placeholders}
    for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name in others:
            raise ToolCallError("invalid_input", f"{name} is fixed by the address of the tool: leave it out.")
    query = urlencode([(name, text) for name in others for text in _texts(others[name])], quote_via=quote, safe="")
    if not query:
        return url
    separator = "" if url[-1] in "?&" else "&" if "?" in url else "?"
    return f"{url}{separator}{query}"


def _texts(value: object) -> Iterator[str]:
    """What stands for a value in a query, once for each time its name does."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item
        elif item is not None:
            yield orjson.dumps(item).decode()


def filled(template: str, arguments: dict[str, Any]) -> str:
    """The URL with its placeholders filled in, each value within the part of the URL that it stands in.

    Raises:
        ToolCallError: a value is missing, is no text, number or boolean, or would lead to another path.
    """
    path_end = template.find("?") if "?" in template else len(template)

    def fill(match: re.Match[str]) -> str:
        name = match[1]
        value = arguments.get(name)
        if isinstance(value, bool):
            value = str(value).lower()
        if not isinstance(value, str | int | float):
            raise ToolCallError("invalid_input", f"{name} is needed, as text, a number or a boolean.")
        text = str(value)
        if match.start() < path_end and any(part in {"", ".", ".."} for part in _SEPARATORS.split(text)):
            # Many servers take %2F for a slash and follow the dots after it.
            raise ToolCallError("invalid_input", f"{name} must not be a path that is empty or leads upwards.")
        return quote(text, safe="")

    return _PLACEHOLDER.sub(fill, template)


def _text(body: bytes, charset: str | None) -> str:
    try:
        # The limit may have cut a letter in two.
        text = body.decode(charset or "utf-8", errors="ignore" if len(body) == ANSWER_LIMIT_BYTES else "strict")
    except (UnicodeDecodeError, LookupError):
        raise ToolCallError("error", "The tool answered with what is not text.") from None
    if "\0" in text:
        raise ToolCallError("error", "The tool answered with what is not text.")
    return text


def _validator(name: str, schema: dict[str, Any]) -> Draft202012Validator:
    if fault := input_schema_fault(schema):
        raise ConfigurationError(f"tools[{name}].http.input_schema: {fault}; correct the JSON schema")
    # An empty registry: a reference to another document is not fetched.
    return Draft202012Validator(schema, registry=Registry())
