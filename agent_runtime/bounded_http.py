"""HTTP/1.1 by uvicorn, with a bound on what its parser leaves open, the head of a request, and another way to close."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_LIMIT_BYTES = 64 * 1024
"""Of request line and headers: what h11 takes, and four times what common proxies send."""
HEAD_DEADLINE_SECONDS = 30.0
"""For a head that has begun, or that a new connection owes us."""
LAST_REQUEST_SECONDS = 1
"""For one more request on a connection that was kept open, when the process ends."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: text/plain; charset=utf-8\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes a connection whose request line and headers are larger than 64 KiB or not complete within 30 s.

    Nobody has shown a key yet while the head arrives, and all of it is held in memory.
    """

    _head_bytes = 0
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the first head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._end_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count where it asks for more of the same head."""
        continues = self._in_head
        super().data_received(data)
        if self.transport.is_closing():
            self._end_head()
        elif continues and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES:
                self.logger.warning("A request was refused: its headers are too large.")
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._end_head()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._end_head()
        self._in_head = True
        self._deadline = self.loop.call_later(HEAD_DEADLINE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:  # the answer before it is still being sent
            self._deadline = self.loop.call_later(HEAD_DEADLINE_SECONDS, self._give_up)

    def _end_head(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class PatientHttpProtocol(BoundedHttpProtocol):
    """Does not close under a caller's next request when the server shuts down.

    A connection that was promised to stay open, because the head of its answer was sent before the process knew that it
    would end, may carry a request at any time, perhaps already does, and not every caller tries one again that was
    answered by the end of its connection. So it is open for one more: the answer to that one says `Connection: close`.
    """

    def shutdown(self) -> None:
        """Close after the next answer, or when no request has come for a while."""
        self.timeout_keep_alive = LAST_REQUEST_SECONDS
        if self.cycle is None or self.cycle.response_complete:
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(LAST_REQUEST_SECONDS, self.timeout_keep_alive_handler)
        elif not self.cycle.response_started:
            self.cycle.keep_alive = False

    def cease(self) -> None:
        """Close now, or after the answer that is being given."""
        super().shutdown()
