"""An MCP server as an AgentService names it: a source of tools, which may be away, and change."""

from __future__ import annotations

import asyncio
import contextvars
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from mcp import MCPError
from mcp_types import CONNECTION_CLOSED, PARSE_ERROR, InputRequiredResult
from pydantic import ValidationError

from agent_runtime import metrics
from agent_runtime.agent.tools.headers import open_headers
from agent_runtime.agent.tools.mcp.definitions import Definition, Offer, offer
from agent_runtime.agent.tools.mcp.results import text_of
from agent_runtime.agent.tools.mcp.session import McpSession, McpSessionLostError, McpUnavailableError
from agent_runtime.agent.tools.mcp.transport import BROKEN_OFF, MESSAGE_LIMIT_BYTES, McpTransport
from agent_runtime.agent.tools.outbound import CheckedTransport
from agent_runtime.agent.tools.tool import ToolCallError, ToolOutput
from agent_runtime.config import McpServerConfig, ToolConfig

KEEP_SECONDS = 300.0
"""For which a list of tools is used without being looked at again, unless the server says that it has changed."""
LOOK_SECONDS = 10.0
"""For a look at the list, with opening a session; so long a request waits for it at most."""
RETRY_SECONDS = 10.0
"""After a look that failed. Until one succeeds, requests wait for none: a server that hangs would hold up them all."""
_NO_ANSWER = frozenset({BROKEN_OFF, CONNECTION_CLOSED, PARSE_ERROR})

_log = structlog.get_logger()
_T = TypeVar("_T")


class McpServer:
    """The tools of one MCP server.

    Args:
        config: of type MCP.
        mcp: what of it is about the server.
        tls: what verifies the server.
        loopback: whether the server may be on this machine.

    Raises:
        ConfigurationError: the file of a header has no value.
    """

    def __init__(self, config: ToolConfig, mcp: McpServerConfig, tls: ssl.SSLContext, *, loopback: bool) -> None:
        self.fault: str | None = None
        self._config = config
        self._mcp = mcp
        self._headers = open_headers(f"tools[{config.name}].mcp.headers", mcp.headers)
        self._checked = CheckedTransport(tls, loopback=loopback)
        self._session: McpSession | None = None
        self._offer: Offer | None = None
        self._seen_at = self._tried_at = self._changed_at = 0.0
        self._look: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[Any]] = set()

    async def offered(self) -> tuple[McpTool, ...]:
        """Its tools as they were seen last, none where they never were; see ToolSource.offered."""
        if self._is_due():
            look = self._begin_look()
            if self.fault is None:
                await asyncio.wait((look,))
        definitions = self._offer.definitions if self._offer is not None else ()
        return tuple(McpTool(self, self._config, definition) for definition in definitions)

    async def call(self, definition: Definition, arguments: dict[str, Any]) -> ToolOutput:
        """Call one of its tools; see Tool.call."""
        task = asyncio.create_task(self._ask(lambda session: session.call(definition.remote_name, arguments)))
        try:
            result = await asyncio.shield(task)
        except asyncio.CancelledError:
            # The client tells the server that it gives the call up, which may take seconds: not the caller's.
            task.cancel()
            self._end_beside(task)
            raise
        except McpUnavailableError as error:
            raise ToolCallError("unavailable", f"The tool's server {error}.") from None
        except ValidationError:
            raise ToolCallError("error", "The tool answered with what is no result of a tool.") from None
        except MCPError as error:
            self._changed_at = time.monotonic()
            if error.code in _NO_ANSWER:
                raise _no_answer(definition) from None
            return ToolOutput(self._headers.redact(error.message), is_error=True)
        if isinstance(result, InputRequiredResult):
            raise ToolCallError("error", "The tool asks a person for more, and nobody is here to be asked.")
        return ToolOutput(self._headers.redact(text_of(result)), is_error=result.is_error)

    async def aclose(self) -> None:
        """End the session."""
        if self._look is not None:
            self._look.cancel()
            self._end_beside(self._look)
        if self._session is not None:
            await self._session.aclose()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._checked.aclose()

    def _is_due(self) -> bool:
        now = time.monotonic()
        if self.fault is not None:
            return now - self._tried_at >= RETRY_SECONDS
        return self._offer is None or self._changed_at >= self._seen_at or now - self._seen_at >= KEEP_SECONDS

    def _begin_look(self) -> asyncio.Task[None]:
        """One look at the list at a time, whoever asks for it."""
        if self._look is None or self._look.done():
            # In a context of its own, as it is nobody's request.
            self._look = asyncio.create_task(self._look_up(), context=contextvars.Context())
        return self._look

    async def _look_up(self) -> None:
        began = self._tried_at = time.monotonic()
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                listed = await self._ask(McpSession.list_tools)
        except McpUnavailableError as error:
            self._end_session()
            self._say(str(error))
        except TimeoutError:
            self._end_session()
            self._say(f"does not list its tools within {LOOK_SECONDS:g} s")
        else:
            before = self._offer
            # Beside the loop: schemas may be large.
            self._offer = await asyncio.to_thread(offer, self._config.name, listed, self._mcp.allowed_tools)
            self._seen_at = began
            if before is None or before.left_out != self._offer.left_out:
                for reason in self._offer.left_out:
                    _log.warning("a tool of an MCP server is not offered", tool=self._config.name, reason=reason)
            self._say(None)

    def _say(self, fault: str | None) -> None:
        """Tell how the server does, in the log where that is news."""
        metrics.MCP_SERVER_UP.labels(self._config.name).set(fault is None)
        if fault != self.fault:
            if fault is None:
                _log.info("an MCP server lists its tools again", tool=self._config.name)
            else:
                _log.warning("an MCP server cannot be used", tool=self._config.name, reason=fault)
        self.fault = fault

    async def _ask(self, ask: Callable[[McpSession], Awaitable[_T]]) -> _T:
        try:
            return await ask(await self._standing_session())
        except McpSessionLostError:  # nothing was done; servers forget when they restart
            return await ask(await self._standing_session())

    async def _standing_session(self) -> McpSession:
        if self._session is None or self._session.is_over:
            self._end_session()
            transport = McpTransport(self._checked, self._headers, self._config.timeout_seconds)
            self._session = McpSession(self._mcp.url, transport, self._hear_change)
        session = self._session
        await session.opened()
        return session

    def _hear_change(self) -> None:
        self._changed_at = time.monotonic()

    def _end_session(self) -> None:
        if self._session is not None:
            self._end_beside(asyncio.create_task(self._session.aclose()))
            self._session = None

    def _end_beside(self, task: asyncio.Task[Any]) -> None:
        """Let a task end on its own time, whatever it comes to."""

        def forget(task: asyncio.Task[Any]) -> None:
            self._ending.discard(task)
            if not task.cancelled():
                task.exception()

        self._ending.add(task)
        task.add_done_callback(forget)


class McpTool:
    """One tool of a server, as it was listed."""

    def __init__(self, server: McpServer, config: ToolConfig, definition: Definition) -> None:
        self.source = config.name
        self.timeout_seconds = config.timeout_seconds
        self.needs_approval = config.approval == "Always"
        self.repeatable = definition.repeatable
        self.definition = definition.block
        self._server = server
        self._listed = definition

    async def call(self, arguments: dict[str, Any], *, call_id: str) -> ToolOutput:  # noqa: ARG002 - MCP has no such key
        """Call it; see Tool.call. The server checks the arguments."""
        return await self._server.call(self._listed, arguments)


def _no_answer(definition: Definition) -> ToolCallError:
    happened = f"The tool's answer broke off, is none of MCP, or is larger than {MESSAGE_LIMIT_BYTES // 1024} KiB"
    if definition.repeatable:
        return ToolCallError("error", f"{happened}.")
    return ToolCallError("outcome_unknown", f"{happened}: what it was to do may be done or not.")
