"""HTTP tools: what is sent, what is taken back, and where they may not lead."""

from __future__ import annotations

import gzip
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
import pytest
from starlette.responses import PlainTextResponse, Response

from agent_runtime.agent.tools import calls as calls_module
from agent_runtime.agent.tools import outbound
from agent_runtime.agent.tools.calls import CallResult, fenced, run_calls
from agent_runtime.agent.tools.http import ANSWER_LIMIT_BYTES, HttpTool, addressed, filled
from agent_runtime.agent.tools.outbound import Address
from agent_runtime.agent.tools.tool import ToolCallError
from agent_runtime.config import ToolConfig
from agent_runtime.settings import ConfigurationError
from agent_runtime.tls import outbound_tls
from dev.fake_messages_api import running
from tests.authority import HOST, make_authority
from tests.runtime.connect_proxy import connect_proxy
from tests.runtime.tool_server import ToolServer, http_tool, tool_server

PUBLIC = ipaddress.ip_address("93.184.215.14")
LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[ToolServer]:
    with tool_server() as server:
        yield server


@asynccontextmanager
async def opened(
    url: str, *, loopback: bool = True, tls: ssl.SSLContext | None = None, **http: Any
) -> AsyncIterator[HttpTool]:
    """An HTTP tool of this process."""
    config = ToolConfig.model_validate(http_tool("tool", url, **http))
    assert config.http is not None
    tool = HttpTool(config, config.http, tls or outbound_tls(None), loopback=loopback)
    yield tool
    await tool.aclose()


async def test_a_get_sends_what_its_address_names(server: ToolServer) -> None:
    async with opened(f"{server.url}/cities/{{city}}/weather?unit={{unit}}&day={{day}}&now={{now}}") as tool:
        output = await tool.call({"city": "São Paulo/SP", "unit": "a&b=c", "day": 3, "now": True}, call_id="1")

    assert output.text == "called GET"
    [call] = server.calls
    assert call.target == "/cities/S%C3%A3o%20Paulo%2FSP/weather?unit=a%26b%3Dc&day=3&now=true"
    assert call.body == b""
    assert "idempotency-key" not in call.headers


@pytest.mark.parametrize(
    ("url", "query"),
    [
        ("https://a.example/x", "?q=S%C3%A3o%20Paulo%2F%3F%26%3D%2B&limit=3&near=true&tag=a&tag=b%20c"),
        ("https://a.example/x/{limit}?q={q}", "?q=S%C3%A3o%20Paulo%2F%3F%26%3D%2B&near=true&tag=a&tag=b%20c"),
        ("https://a.example/x?", "?q=S%C3%A3o%20Paulo%2F%3F%26%3D%2B&limit=3&near=true&tag=a&tag=b%20c"),
        ("https://a.example/{q}?a=1&", "?a=1&limit=3&near=true&tag=a&tag=b%20c"),
    ],
)
def test_what_the_address_of_a_get_does_not_name_is_a_parameter_of_its_query(url: str, query: str) -> None:
    arguments = {"q": "São Paulo/?&=+", "limit": 3, "near": True, "tag": ["a", "b c"], "none": None, "empty": []}

    address = addressed(url, arguments)

    assert address[address.index("?") :] == query


def test_an_object_in_a_query_is_json() -> None:
    arguments = {"where": {"a": [1, "ä"]}, "all": [{"b": None}, [2]], "a&b": 1.5}

    query = parse_qsl(urlsplit(addressed("https://a.example/x", arguments)).query, strict_parsing=True)

    assert query == [("where", '{"a":[1,"ä"]}'), ("all", '{"b":null}'), ("all", "[2]"), ("a&b", "1.5")]


@pytest.mark.parametrize(
    "url", ["https://a.example/x?tenant=acme", "https://a.example/{q}?%74enant", "https://a.example/?{q}=1"]
)
def test_no_input_changes_what_the_address_fixes(url: str) -> None:
    with pytest.raises(ToolCallError, match="tenant is fixed by the address"):
        addressed(url, {"q": "tenant", "tenant": "other"})


def test_without_further_input_the_address_stays_as_it_is() -> None:
    assert addressed("https://a.example/{q}", {"q": "Graz", "day": None}) == "https://a.example/Graz"


async def test_a_get_is_sent_with_its_query(server: ToolServer) -> None:
    async with opened(f"{server.url}/weather/{{city}}") as tool:
        await tool.call({"city": "Graz", "unit": "a&b", "day": [1, 2]}, call_id="1")

    assert [call.target for call in server.calls] == ["/weather/Graz?unit=a%26b&day=1&day=2"]


async def test_a_post_sends_its_input_as_json_with_a_key_against_repetition(server: ToolServer) -> None:
    async with opened(f"{server.url}/order", method="POST") as tool:
        await tool.call({"dish": "Käse", "count": 2}, call_id="toolu_17")

    [call] = server.calls
    assert orjson.loads(call.body) == {"dish": "Käse", "count": 2}
    assert call.headers["content-type"] == "application/json"
    assert call.headers["idempotency-key"] == "toolu_17"
    assert call.headers["host"] == f"127.0.0.1:{server.port}"


@pytest.mark.parametrize("city", ["..", ".", "", "../admin", "x/../../admin", "..\\admin", "x/..", "/admin"])
def test_a_value_leads_to_no_other_path(city: str) -> None:
    with pytest.raises(ToolCallError, match="leads upwards"):
        filled("https://api.example.com/cities/{city}/weather", {"city": city})


@pytest.mark.parametrize("value", [None, ["x"], {"x": 1}])
def test_a_value_is_text_a_number_or_a_boolean(value: object) -> None:
    with pytest.raises(ToolCallError, match="city is needed"):
        filled("https://api.example.com/weather?q={city}", {"city": value})


def test_a_value_of_the_query_may_have_dots_and_slashes() -> None:
    assert filled("https://a.example/x?q={city}", {"city": "../a"}) == "https://a.example/x?q=..%2Fa"


async def test_a_renewed_secret_is_sent_and_never_shown(
    server: ToolServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_runtime.credentials.CHECK_SECONDS", 0)
    secret = tmp_path / "token"
    secret.write_text("Bearer old-test-token\n")
    headers = [{"name": "Authorization", "value_file": str(secret)}, {"name": "X-Tenant", "value": "acme"}]

    async with opened(f"{server.url}/headers", headers=headers) as tool:
        output = await tool.call({}, call_id="1")
        secret.write_text("Bearer new-test-token")
        renewed = await tool.call({}, call_id="2")

    assert [call.headers["authorization"] for call in server.calls] == [
        "Bearer old-test-token",
        "Bearer new-test-token",
    ]
    assert server.calls[0].headers["x-tenant"] == "acme"
    assert output.is_error
    assert "acme" in output.text
    assert "test-token" not in output.text
    assert "test-token" not in renewed.text


@pytest.mark.parametrize(("content", "said"), [(None, "cannot be read"), ("", "is empty"), ("a\nb", "line breaks")])
async def test_a_secret_that_is_no_header_ends_the_process(tmp_path: Path, content: str | None, said: str) -> None:
    secret = tmp_path / "token"
    if content is not None:
        secret.write_text(content)

    with pytest.raises(ConfigurationError, match=rf"tools\[tool\].http.headers.*{said}.*Secret"):
        async with opened("https://a.example", headers=[{"name": "Authorization", "value_file": str(secret)}]):
            pass


@pytest.mark.parametrize(
    ("schema", "said"),
    [({"type": "object", "properties": 1}, "properties.*correct the JSON schema"), ({"type": "string"}, '"object"')],
)
async def test_a_schema_that_no_model_could_use_ends_the_process(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"tools\[tool\].http.input_schema: .*{said}"):
        async with opened("https://a.example", input_schema=schema):
            pass


async def test_a_schema_fetches_no_other_document(server: ToolServer) -> None:
    async with opened(server.url, input_schema={"type": "object", "$ref": f"{server.url}/schema"}) as tool:
        result = await run(tool)

    assert result.outcome == "error"
    assert server.calls == []


async def test_a_redirect_is_not_followed(server: ToolServer) -> None:
    async with opened(f"{server.url}/redirect") as tool:
        output = await tool.call({}, call_id="1")

    assert output.is_error
    assert "redirects" in output.text
    assert [call.target for call in server.calls] == ["/redirect"]


async def test_an_answer_of_any_size_is_read_and_shown_in_part(server: ToolServer) -> None:
    server.answer = PlainTextResponse("ü" * 10_000_000)

    async with opened(f"{server.url}/answer") as tool:
        output = await tool.call({}, call_id="1")

    assert len(output.text.encode()) <= ANSWER_LIMIT_BYTES
    assert len(fenced(output.text)) < calls_module.RESULT_LIMIT_CHARACTERS + 200
    assert "[cut off after 50000 characters]" in fenced(output.text)


@pytest.mark.parametrize(
    "answer",
    [
        Response(gzip.compress(b"0" * 10_000_000), headers={"content-encoding": "gzip"}),
        Response(b"\x89PNG\r\n\x1a\n\0\xff", media_type="image/png"),
        Response(b"a\0b", media_type="text/plain"),
        Response(b"x", headers={"content-type": "text/plain; charset=no-such"}),
    ],
    ids=["compressed", "an image", "a zero", "a charset that is none"],
)
async def test_an_answer_that_is_no_text_is_not_shown(server: ToolServer, answer: Response) -> None:
    server.answer = answer

    async with opened(f"{server.url}/answer") as tool:
        result = await run(tool)

    assert result.outcome == "error"
    assert result.block["content"].startswith("The tool answered with")


async def test_no_cookie_of_one_call_comes_back_in_another(server: ToolServer) -> None:
    server.answer = PlainTextResponse("x", headers={"set-cookie": "session=1"})

    async with opened(f"{server.url}/answer") as tool:
        await tool.call({}, call_id="1")
        await tool.call({}, call_id="2")

    assert all("cookie" not in call.headers for call in server.calls)


@pytest.mark.parametrize(("method", "outcome"), [("GET", "error"), ("POST", "outcome_unknown")])
async def test_an_answer_that_breaks_off_is_told_as_what_it_is(method: str, outcome: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        connection, _ = listener.accept()
        connection.recv(65_536)
        connection.close()

    threading.Thread(target=hang_up, daemon=True).start()
    async with opened(f"http://127.0.0.1:{listener.getsockname()[1]}", method=method) as tool:
        result = await run(tool)

    assert result.outcome == outcome
    listener.close()


async def test_a_tool_that_nobody_serves_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    async with opened(f"http://127.0.0.1:{port}", method="POST") as tool:
        result = await run(tool)

    assert (result.outcome, result.block["content"]) == ("unavailable", "The tool cannot be reached.")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "[::1]", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]"],
)
async def test_a_pods_tools_are_not_the_pod_itself(server: ToolServer, host: str) -> None:
    async with opened(f"http://{host}:{server.port}/secret", loopback=False) as tool:
        result = await run(tool)

    assert result.outcome == "unavailable"
    assert "may not be called" in result.block["content"]
    assert server.calls == []


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "fe80::1",
        "100.100.100.200",
        "fd00:ec2::254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "::ffff:169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "10.96.0.1",
    ],
)
@pytest.mark.parametrize("loopback", [False, True])
async def test_a_name_that_leads_where_no_tool_may_be_is_not_called(
    monkeypatch: pytest.MonkeyPatch, address: str, *, loopback: bool
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    # One good address does not make up for a bad one: which of them is taken, is up to whoever answers for the name.
    resolve_to(monkeypatch, PUBLIC, ipaddress.ip_address(address))

    async with opened("http://tool.example", loopback=loopback) as tool:
        result = await run(tool)

    assert result.outcome == "unavailable"
    assert "may not be called" in result.block["content"]


@pytest.mark.parametrize("address", ["10.0.0.7", "192.168.1.1", "172.16.0.1", "fd12::1", "100.64.0.1", "8.8.8.8"])
def test_services_of_the_cluster_may_be_tools(address: str) -> None:
    assert outbound._forbidden(ipaddress.ip_address(address), loopback=False) is None


async def test_the_address_that_was_checked_is_the_one_that_is_called(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolve_to(monkeypatch, LOOPBACK)

    async with opened(f"http://tool.example:{server.port}/x") as tool:
        await tool.call({}, call_id="1")

    # Asked once: a second answer could be another one.
    assert asked == ["tool.example"]
    assert server.calls[0].headers["host"] == f"tool.example:{server.port}"


async def test_an_address_that_does_not_answer_is_followed_by_the_next(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, ipaddress.ip_address("::1"), LOOPBACK)

    async with opened(f"http://tool.example:{server.port}/x", method="POST") as tool:
        output = await tool.call({"a": 1}, call_id="1")

    assert output.text == "called POST"
    assert orjson.loads(server.calls[0].body) == {"a": 1}


@pytest.mark.parametrize(("name", "outcome"), [(HOST, "ok"), ("other.example.com", "unavailable")])
async def test_a_certificate_must_be_for_the_name_not_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, outcome: str
) -> None:
    authority = make_authority(tmp_path)
    resolve_to(monkeypatch, LOOPBACK)
    tls = ssl.create_default_context(cafile=str(authority.certificate))
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT

    with running(
        certificate=authority.server_certificate, key=authority.server_key, authority=authority.certificate
    ) as secure:
        async with opened(f"https://{name}:{secure.port}/v1/models", tls=tls) as tool:
            result = await run(tool)

    assert result.outcome == outcome


async def test_a_proxy_of_the_installation_is_used_but_not_for_forbidden_addresses(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = make_authority(tmp_path)
    tls = ssl.create_default_context(cafile=str(authority.certificate))
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with (
        running(
            certificate=authority.server_certificate, key=authority.server_key, authority=authority.certificate
        ) as secure,
        connect_proxy(secure.port) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with opened(f"https://{HOST}/v1/models", tls=tls) as tool:
            through = await run(tool)
        async with opened("https://169.254.169.254/latest", tls=tls) as tool:
            forbidden = await run(tool)
        async with opened(f"{server.url}/x") as tool:
            direct = await run(tool)

    assert (through.outcome, forbidden.outcome, direct.outcome) == ("ok", "unavailable", "ok")
    assert proxy.asked == [f"CONNECT {HOST}:443"]


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> list[str]:
    """Let every name lead to these addresses; returns the names that are asked for."""
    asked = []

    async def resolve(host: str) -> tuple[Address, ...]:
        asked.append(host)
        return addresses

    monkeypatch.setattr(outbound, "_resolve", resolve)
    return asked


async def run(tool: HttpTool) -> CallResult:
    """The result of one call with an empty input."""
    results: list[CallResult] = []

    async def keep(result: CallResult) -> None:
        results.append(result)

    call = {"type": "tool_use", "id": "toolu_1", "name": "tool", "input": {}}
    await run_calls({"tool": tool}, [call], agent="main", refused={}, on_result=keep)
    return results[0]
