"""Keys and other secret values that we show to others: mounted files, re-read when the kubelet renews them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import structlog

_log = structlog.get_logger()

CHECK_SECONDS = 2.0
"""How often the file is looked at, at most."""


def read_key(path: Path) -> str:
    """The key in a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no key; the message says what instead, and nothing of it.
    """
    content = path.read_bytes().strip()
    if not content:
        raise ValueError("is empty")
    if any(not ord("!") <= byte <= ord("~") for byte in content):
        raise ValueError("is no key: it has spaces, line breaks or letters beyond ASCII in it")
    return content.decode("ascii")


def read_header(path: Path) -> str:
    """The value of a header in a file, such as ``Bearer KEY``.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no such value; the message says what instead, and nothing of it.
    """
    content = path.read_bytes().strip()
    if not content:
        raise ValueError("is empty")
    if any(not ord(" ") <= byte <= ord("~") for byte in content):
        raise ValueError("is no value of a header: it has line breaks or letters beyond ASCII in it")
    return content.decode("ascii")


class CredentialsFile:
    """One secret value in one file.

    Args:
        path: of the file.
        read: how its content is understood.
    """

    def __init__(self, path: Path, read: Callable[[Path], str] = read_key) -> None:
        self._path = path
        self._read_value = read
        self._key = ""
        self._modified = 0
        self._looked_at = 0.0

    def read(self) -> str:
        """The key as it is in the file now; where there is none, the one before.

        Raises:
            OSError, ValueError: as read_key, the first time.
        """
        self._looked_at = time.monotonic()
        try:
            # The time before the content: a change in between is seen at the next look.
            self._modified = self._path.stat().st_mtime_ns
            self._key = self._read_value(self._path)
        except (OSError, ValueError) as error:
            if not self._key:
                raise
            reason = error.strerror if isinstance(error, OSError) else str(error)
            _log.warning("credentials cannot be read; the key read before is used", reason=reason)
        return self._key

    async def current(self) -> str:
        """The key, looked at again where the last look is some time ago."""
        if time.monotonic() - self._looked_at < CHECK_SECONDS:
            return self._key
        self._looked_at = time.monotonic()
        return await asyncio.to_thread(self._read_if_changed)

    async def reread(self) -> str:
        """The key as it is in the file now, however recently that was looked at."""
        return await asyncio.to_thread(self.read)

    def _read_if_changed(self) -> str:
        try:
            changed = self._path.stat().st_mtime_ns != self._modified
        except OSError:
            changed = True
        return self.read() if changed else self._key
