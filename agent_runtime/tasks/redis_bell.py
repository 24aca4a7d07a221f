"""The bell that other processes hear: by publish and subscribe of a Redis, which may come and go."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import structlog
from redis.asyncio import Redis

from agent_runtime.beside import end
from agent_runtime.config import RuntimeConfig
from agent_runtime.credentials import CredentialsFile
from agent_runtime.tasks.bell import IDLE_SECONDS, POLL_SECONDS, Bell, BellError
from agent_runtime.url_file import open_url_file

ANSWER_SECONDS = 5.0
"""After which a server that says nothing counts as gone."""
LISTEN_SECONDS = 1.0
"""Of one look whether something was said; between two, the URL is looked at."""
RETRY_SECONDS = 1.0
EVERYTHING = "*"
"""The word of who comes back: whatever it could not say may have happened."""
WAITING_WORDS = 1000
"""Of words that are to be said; beyond, they are left out, and others find out by looking."""

_log = structlog.get_logger()


def redis_bell(config: RuntimeConfig) -> RedisBell:
    """The bell of a service with a Redis; it rings here at once, elsewhere as soon as that can be reached.

    Raises:
        ConfigurationError: its URL cannot be one; the message names the file and the remedy, and nothing of the URL.
    """
    file = Path(config.state.redis_url_file or "")
    url = open_url_file(file, "state.redis_url_file", check=check_url, form="redis://:PASSWORD@HOST")
    # Services that share a Redis do not wake each other.
    channel = f"agentservice:{config.namespace}/{config.service}"
    return RedisBell(url, channel, trust_bundle_file=config.trust_bundle_file)


def check_url(url: str) -> None:
    """See whether a URL can be that of a Redis.

    Raises:
        ValueError: it cannot; the message says why, and nothing of the URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss"}:
        raise ValueError("is no URL that begins with redis:// or rediss://")
    if not parts.hostname:
        raise ValueError("names no host")


class RedisBell(Bell):
    """See Bell; all processes of the service hear it.

    Args:
        url: of the server; a new one is used as soon as it is there.
        channel: by which the processes hear each other.
        trust_bundle_file: PEM file of authorities that are trusted besides the public ones.
    """

    def __init__(self, url: CredentialsFile, channel: str, *, trust_bundle_file: str | None) -> None:
        super().__init__(shared=True)
        self._url = url
        self._channel = channel
        self._tls: dict[str, Any] = {"ssl_ca_certs": trust_bundle_file} if trust_bundle_file else {}
        self._words: asyncio.Queue[str] = asyncio.Queue(WAITING_WORDS)
        self._client_in_use: Redis | None = None

    @property
    def connected(self) -> bool:
        """Whether others are heard now."""
        return self._client_in_use is not None

    @property
    def waiting(self) -> int:
        """Words that have not been said yet."""
        return self._words.qsize()

    @property
    def pause(self) -> float:
        """See Bell.pause."""
        return IDLE_SECONDS if self.connected else POLL_SECONDS

    def ring(self, topic: str) -> None:
        """See Bell.ring."""
        self.wake(topic)
        with contextlib.suppress(asyncio.QueueFull):
            self._words.put_nowait(topic)

    async def ping(self) -> bool:
        """See Bell.ping."""
        if self._client_in_use is None:
            raise BellError("cannot be reached or refuses us")
        try:
            answer: Any = self._client_in_use.ping()  # typed as that of either of its clients
            await answer
        except Exception as error:
            raise BellError(f"does not answer ({type(error).__name__})") from error
        return True

    async def keep(self) -> None:
        """Stay connected, until cancelled."""
        told = False
        while True:
            try:
                await self._talk()
                told = False
            except Exception as error:  # noqa: BLE001 - what a server says can fail anywhere in the client; it comes back
                if self.connected or not told:
                    _log.warning("redis cannot be used: others are not woken", error=type(error).__name__)
                told = True
            finally:
                self._client_in_use = None
            await asyncio.sleep(RETRY_SECONDS)

    async def _talk(self) -> None:
        """Hear and say, until the URL changes.

        Raises:
            RedisError, OSError: the server cannot be reached, refuses us, or went away.
            ValueError: the URL is none.
        """
        url = await self._url.current()
        async with self._client(url) as client, client.pubsub() as subscription:
            await subscription.subscribe(self._channel)
            self._client_in_use = client
            _log.info("redis is used")
            # What happened before is not known, neither here nor, of what could not be said, elsewhere.
            self.wake_all()
            await client.publish(self._channel, EVERYTHING)
            saying = asyncio.create_task(self._say(client))
            try:
                while await self._url.current() == url and not saying.done():
                    await self._hear(subscription)
            finally:
                await end(saying)

    async def _hear(self, subscription: Any) -> None:
        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=LISTEN_SECONDS)
        if message is None:
            return
        if message["data"] == EVERYTHING:
            self.wake_all()
        else:
            self.wake(message["data"])

    async def _say(self, client: Redis) -> None:
        while True:
            await client.publish(self._channel, await self._words.get())

    @asynccontextmanager
    async def _client(self, url: str) -> AsyncIterator[Redis]:
        check_url(url)
        tls = self._tls if url.startswith("rediss:") else {}
        client = Redis.from_url(
            url,
            decode_responses=True,
            socket_connect_timeout=ANSWER_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            health_check_interval=IDLE_SECONDS,
            **tls,
        )
        try:
            yield client
        finally:
            await client.aclose()
