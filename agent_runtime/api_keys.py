"""The API keys: a mounted directory with one file per client, re-read when the kubelet renews it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Collection
from pathlib import Path

import structlog

from agent_runtime.config import PREVIOUS_KEY_SUFFIX
from agent_runtime.ending import Ending
from agent_runtime.settings import ConfigurationError

_log = structlog.get_logger()

CHECK_SECONDS = 2.0
"""How often the directory is looked at."""
MISS_SECONDS = 0.5
"""After an unknown key the directory is looked at again, at most this often: a flood of them costs no disk reads."""

STRONG_KEY_BYTES = 24
"""In production, shorter keys are not valid: nobody guesses so many random letters."""

_Fingerprint = tuple[tuple[str, int, int, int], ...]


class ApiKeys:
    """Which client a key belongs to.

    Keys are held as HMACs under a random key of this process. Nobody can choose an input with a given HMAC, so how
    long a dictionary takes to find one tells nothing about the keys that are valid: the lookup is safe against timing,
    however many clients there are.
    """

    def __init__(self, directory: Path, *, clients: Collection[str] = (), strong: bool = False) -> None:
        """Read the keys of `clients` in `directory`, or all; `strong` refuses those that could be guessed.

        Raises:
            ConfigurationError: the directory is missing or holds no key, so nobody could call.
        """
        self._directory = directory
        self._clients = frozenset(clients)
        self._pepper = secrets.token_bytes(32)
        self._principals: dict[bytes, str] = {}
        self._fingerprint: _Fingerprint = ()
        self._looked_at = 0.0
        self._least_bytes = STRONG_KEY_BYTES if strong else 1
        self._reload = asyncio.Lock()
        try:
            self._load()
        except OSError as error:
            raise ConfigurationError(
                f"api_keys_directory {directory}: cannot be read ({error.strerror}); "
                "mount the Secret with the API keys there",
                Ending.API_KEYS_UNUSABLE,
            ) from None
        if not self._principals:
            kind = f"key of {self._least_bytes} bytes or more" if strong else "key"
            whose = f" of {', '.join(sorted(clients))}" if clients else ""
            raise ConfigurationError(
                f"api_keys_directory {directory}: holds no {kind}{whose}; "
                "put one file per client into the Secret, a key per line",
                Ending.API_KEYS_UNUSABLE,
            )

    async def principal_of(self, key: str) -> str | None:
        """The client whose key this is, or None; looks at the directory again before it says None."""
        digest = self._digest(key.encode("latin-1"))  # servers decode headers so: these are the bytes that were sent
        if (principal := self._principals.get(digest)) is not None:
            return principal
        await self._look(at_most_every=MISS_SECONDS)
        return self._principals.get(digest)

    async def watch(self) -> None:
        """Follow the directory until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await self._look(at_most_every=0)

    async def _look(self, *, at_most_every: float) -> None:
        async with self._reload:
            if time.monotonic() - self._looked_at < at_most_every:
                return
            self._looked_at = time.monotonic()
            try:
                if await asyncio.to_thread(self._load):
                    _log.info("API keys renewed", clients=len(set(self._principals.values())))
            except OSError as error:
                # The kubelet swaps a symbolic link: a read may fall between. The keys of before stay valid.
                _log.warning("API keys cannot be read; those read before stay valid", reason=error.strerror)

    def _load(self) -> bool:
        """Read all files where one has changed; whether that was so."""
        files = sorted(path for path in self._directory.iterdir() if not path.name.startswith(".") and path.is_file())
        stats = [(path.name, path.stat()) for path in files]
        fingerprint = tuple((name, stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in stats)
        if fingerprint == self._fingerprint:
            return False
        principals = {}
        for path in files:
            principal = path.name.removesuffix(PREVIOUS_KEY_SUFFIX)
            if self._clients and principal not in self._clients:
                continue
            for line in path.read_bytes().splitlines():
                if len(key := line.strip()) >= self._least_bytes:
                    principals[self._digest(key)] = principal
        self._principals = principals
        self._fingerprint = fingerprint
        return True

    def _digest(self, key: bytes) -> bytes:
        return hmac.digest(self._pepper, key, hashlib.sha256)
