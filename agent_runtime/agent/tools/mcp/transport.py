"""HTTP under a session: our addresses, headers and bounds, and failures that stay with the request that failed.

The MCP client ends a whole session, with the calls of everybody else, where one request of it breaks off. Once a
session stands, a failure is therefore answered in the server's place, by a JSON-RPC error.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from agent_runtime.agent.tools.headers import ToolHeaders
from agent_runtime.agent.tools.outbound import CONNECT_SECONDS, CheckedTransport, ForbiddenAddressError

MESSAGE_LIMIT_BYTES = 1024 * 1024
"""Of one message of a server: a result, or a page of its list of tools. The model is shown less of it."""
NOT_SENT = -1
"""Code of the error where nothing reached the server."""
BROKEN_OFF = -2
"""Code of the error where the server may have done what was asked."""
_LISTEN = "subscriptions/listen"
_SESSION_ID = "mcp-session-id"


class McpTransport(httpx2.AsyncBaseTransport):
    """What sends the requests of one session.

    Args:
        checked: what connects.
        headers: of the tool.
        answer_seconds: how long the server may be silent before and within an answer.
    """

    def __init__(self, checked: CheckedTransport, headers: ToolHeaders, answer_seconds: float) -> None:
        self._checked = checked
        self._headers = headers
        self._answer_seconds = answer_seconds
        self.stands = False
        """Whether the session does."""
        self.failure: str | None = None
        """Why the latest request that failed did: what the tool does, without words of the server."""
        self.session_lost = False
        """Whether the server no longer knows the session."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; see httpx2.

        Raises:
            httpx2.TransportError: it failed, and the session does not stand yet.
        """
        request.headers.update(await self._headers.current())
        # Decompressed, a small answer could fill the memory.
        request.headers["Accept-Encoding"] = "identity"
        request.extensions["timeout"] = self._timeout(request).as_dict()
        try:
            response = await self._checked.handle_async_request(request)
        except httpx2.TransportError as error:
            self.failure = failure_of(error)
            if not self.stands:
                raise
            connected = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            return _error(BROKEN_OFF if connected else NOT_SENT)
        if response.is_redirect:
            self.failure = "redirects to another address, which is not followed"
        elif response.headers.get("content-encoding", "identity") != "identity":
            self.failure = "answers with compressed content, which it was not asked for"
        else:
            return self._looked_at(request, response)
        await response.aclose()
        return _error(BROKEN_OFF)

    def _looked_at(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        if response.is_error:
            self.failure = f"answers with HTTP status {response.status_code}"
            if response.status_code == httpx2.codes.NOT_FOUND and _SESSION_ID in request.headers:
                self.session_lost = True
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Bounded(response),
            extensions=response.extensions,
        )

    def _timeout(self, request: httpx2.Request) -> httpx2.Timeout:
        """A stream on which the server says what has changed may be silent for ever."""
        listens = request.method == "GET" or request.headers.get("mcp-method") == _LISTEN
        return httpx2.Timeout(None, connect=CONNECT_SECONDS, read=None if listens else self._answer_seconds)


class _Bounded(httpx2.AsyncByteStream):
    """The body of an answer, whose end and failures are of a kind that the client leaves with the request."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        # In a stream of events the client bounds each of them.
        is_stream = response.headers.get("content-type", "").lower().startswith("text/event-stream")
        self._limit = None if is_stream else MESSAGE_LIMIT_BYTES

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        try:
            async for chunk in self._response.aiter_raw():
                read += len(chunk)
                if self._limit is not None and read > self._limit:
                    raise httpx2.StreamError("too large")
                yield chunk
        except httpx2.TransportError:
            raise httpx2.StreamError("broken off") from None

    async def aclose(self) -> None:
        await self._response.aclose()


def failure_of(error: httpx2.TransportError) -> str:
    """What a server does that cannot be asked."""
    if isinstance(error, ForbiddenAddressError):
        return f"may not be called: {error}"
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return "cannot be reached"
    return "breaks off its answers"


def _error(code: int) -> httpx2.Response:
    """An answer in the server's place."""
    document = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": "no answer"}}
    return httpx2.Response(httpx2.codes.BAD_GATEWAY, json=document)
