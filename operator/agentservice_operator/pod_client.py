"""HTTP to the pods of agents: their admin port, of which little is expected and nothing believed."""

from __future__ import annotations

from http import HTTPStatus
from typing import Self

import aiohttp

from agent_runtime.config import ADMIN_PORT
from agentservice_operator.engine.inquiry import NoAnswerError

TIMEOUT_SECONDS = 2.0
LIMIT_BYTES = 64 * 1024
"""Sixteen models take 3 KiB."""
CONCURRENCY = 16


class PodClient:
    """Asks pods for their state; an asynchronous context manager. Implements ``engine.inquiry.Pods``.

    Args:
        port: the pods' admin port.
    """

    def __init__(self, port: int = ADMIN_PORT) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        """Open it."""
        self._session = aiohttp.ClientSession(
            # A pod is asked once a minute: a kept connection would only end in the middle of a rollout.
            connector=aiohttp.TCPConnector(limit=CONCURRENCY, force_close=True),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self._session.close()

    async def report(self, address: str) -> bytes:
        """The body of a pod's ``/statusz``; see ``engine.inquiry.Pods``."""
        host = f"[{address}]" if ":" in address else address
        try:
            async with self._session.get(f"http://{host}:{self._port}/statusz", allow_redirects=False) as response:
                if response.status != HTTPStatus.OK:
                    raise NoAnswerError(f"it answers {response.status}")
                body = await response.content.read(LIMIT_BYTES + 1)
                while len(body) <= LIMIT_BYTES and (chunk := await response.content.read(LIMIT_BYTES)):
                    body += chunk
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # ValueError: what is no address at all
            raise NoAnswerError(type(error).__name__) from None
        if len(body) > LIMIT_BYTES:
            raise NoAnswerError(f"it answers with more than {LIMIT_BYTES} bytes")
        return body
