"""One session with an MCP server."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx2
import mcp_types
from mcp import Client, MCPError
from mcp.client.session import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter, ValidationError

from agent_runtime import __version__
from agent_runtime.agent.tools.mcp.transport import MESSAGE_LIMIT_BYTES, NOT_SENT, McpTransport, failure_of

OPEN_SECONDS = 5.0
"""For opening a session."""
CLOSE_SECONDS = 2.0
"""For telling the server that the session ends."""
PAGES_LIMIT = 100
"""Of one list of tools, as the MCP client has it."""
CallResult = mcp_types.CallToolResult | mcp_types.InputRequiredResult
_CALL_RESULT: TypeAdapter[CallResult] = TypeAdapter(CallResult)


class McpUnavailableError(Exception):
    """Nothing was done, because there is no session.

    Args:
        reason: what the server does, without words of it.
    """


class McpSessionLostError(McpUnavailableError):
    """Nothing was done, because the server does not know the session any more: another one may do."""


class McpSession:
    """A session, held by a task of its own: whoever opened an MCP client has to close it.

    Args:
        url: of the server.
        transport: of this session alone.
        on_change: is called when the server's tools have changed.
    """

    def __init__(self, url: str, transport: McpTransport, on_change: Callable[[], None]) -> None:
        self._url = url
        self._transport = transport
        self._on_change = on_change
        self._end = asyncio.Event()
        self._opened: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        # In a context of its own: it outlives the request that needs it first, and is none of that one's.
        self._task = asyncio.create_task(self._hold(), context=contextvars.Context())

    @property
    def is_over(self) -> bool:
        """Whether it ended, or is of no use any more."""
        return self._task.done() or self._end.is_set() or self._transport.session_lost

    async def opened(self) -> None:
        """Wait until it stands.

        Raises:
            McpUnavailableError: it never will.
        """
        await asyncio.wait((self._opened, self._task), return_when=asyncio.FIRST_COMPLETED)
        if not self._opened.done():
            raise McpUnavailableError(self._reason())

    async def list_tools(self) -> tuple[mcp_types.Tool, ...]:
        """All tools that the server has.

        Raises:
            McpUnavailableError: it does not say.
        """
        client = self._opened.result()
        tools: list[mcp_types.Tool] = []
        cursor = None
        try:
            for _ in range(PAGES_LIMIT):
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    return tuple(tools)
        except MCPError as error:
            raise self._unavailable(error) from None
        except ValidationError:
            raise McpUnavailableError("lists its tools in a form that is none of MCP") from None
        raise McpUnavailableError(f"lists its tools on more than {PAGES_LIMIT} pages")

    async def call(self, name: str, arguments: dict[str, Any]) -> CallResult:
        """Call a tool.

        Raises:
            McpUnavailableError: nothing was done.
            MCPError: the server refused, or what came of it is not known.
            pydantic.ValidationError: the result is none of MCP.
        """
        request = mcp_types.CallToolRequest(params=mcp_types.CallToolRequestParams(name=name, arguments=arguments))
        try:
            # Not the client's call_tool, which would check the result by a schema of the server, patterns included, on
            # the loop.
            return await self._opened.result().session.send_request(request, _CALL_RESULT)
        except MCPError as error:
            if error.code == NOT_SENT or self._transport.session_lost:
                raise self._unavailable(error) from None
            raise

    async def aclose(self) -> None:
        """End it; calls that are not answered yet fail."""
        self._end.set()
        await asyncio.wait((self._task,), timeout=CLOSE_SECONDS)
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # why it failed has been told to whoever waited for it
            await self._task

    async def _hold(self) -> None:
        agent = {"User-Agent": f"agentservice-runtime/{__version__}"}
        http = httpx2.AsyncClient(transport=self._transport, headers=agent, trust_env=False, timeout=None)
        streams = streamable_http_client(self._url, http_client=http, max_sse_event_size=MESSAGE_LIMIT_BYTES)
        ours = mcp_types.Implementation(name="agentservice-runtime", version=__version__)
        opening = asyncio.timeout(OPEN_SECONDS)
        async with opening, http, Client(streams, client_info=ours, message_handler=self._hear, cache=None) as client:
            opening.reschedule(None)
            self._transport.stands = True
            self._opened.set_result(client)
            listening = asyncio.create_task(self._listen(client))
            try:
                await self._end.wait()
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, client: Client) -> None:
        """Ask to be told of changes, where the server has to be asked; they come to `_hear` like those of others.

        Where that ends, the list is looked at again when it is old.
        """
        capability = client.server_capabilities.tools
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or not (capability and capability.list_changed):
            return
        with suppress(MCPError, SubscriptionLost):
            async with client.listen(tools_list_changed=True) as changes:
                async for _ in changes:
                    pass

    async def _hear(self, message: IncomingMessage) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._on_change()

    def _unavailable(self, error: MCPError) -> McpUnavailableError:
        if self._transport.session_lost:
            return McpSessionLostError("has lost the session")
        if error.code == NOT_SENT and self._transport.failure is not None:
            return McpUnavailableError(self._transport.failure)
        return McpUnavailableError("does not list its tools")

    def _reason(self) -> str:
        error = None if self._task.cancelled() else self._task.exception()
        for each in _leaves(error):
            if isinstance(each, httpx2.TransportError):
                return failure_of(each)
            if isinstance(each, TimeoutError):
                return f"opens no session within {OPEN_SECONDS:g} s"
        return self._transport.failure or "does not open a session as MCP has it"


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    elif error is not None:
        yield error
