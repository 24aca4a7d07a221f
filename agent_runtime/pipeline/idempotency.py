"""A request with an Idempotency-Key is answered once, however often it is sent.

Source: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from contextlib import suppress
from typing import NoReturn

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from agent_runtime.api.errors import (
    IDEMPOTENCY_IN_FLIGHT,
    IDEMPOTENCY_KEY_REUSED,
    INVALID_HEADER,
    STATE_UNAVAILABLE,
    ProblemError,
)
from agent_runtime.pipeline.context import context_of
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.idempotency import KeptAnswer, SqlIdempotency

MAX_BODY_BYTES = 1024 * 1024
"""Of an answer that is kept; the key of a larger one is free again."""
IDEMPOTENCY_KEY = "^[!-~]{1,255}$"
"""What a key looks like."""
REPLAYED = {"Idempotent-Replayed": "true"}


class Claim:
    """A key that is held by a request; freed at the end of the block where no answer has been kept."""

    def __init__(self, store: SqlIdempotency) -> None:
        self._store = store
        self.token = uuid.uuid4().hex

    async def __aenter__(self) -> None:
        """Hold it, as it is held since it was claimed."""

    async def __aexit__(self, *_: object) -> None:
        """Hold it no longer."""
        with suppress(StateUnavailableError):  # it has been logged; the key is free when this process ends
            await self._store.release(self.token)

    async def keep(self, body: bytes) -> None:
        """Keep a document as the answer."""
        if len(body) <= MAX_BODY_BYTES:
            with suppress(StateUnavailableError):  # it has been logged; the answer is there, and is sent
                await self._store.keep(self.token, body=body.decode())

    async def keep_run(self, run_id: str) -> None:
        """Keep a run as the answer."""
        with suppress(StateUnavailableError):
            await self._store.keep(self.token, run_id=run_id)

    def keep_task(self, connection: Connection, task_id: str) -> None:
        """Keep a task as the answer, where it is made."""
        self._store.keep_task(connection, self.token, task_id)


class Idempotency:
    """The keys of requests.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: SqlIdempotency) -> None:
        self.store = store

    async def claim(self, request: Request) -> Claim | KeptAnswer | None:
        """Take the key of a request whose body has been read and is valid.

        Returns:
            None where it has no key, what is kept of an earlier request, or the key, to be held while it is answered.

        Raises:
            ProblemError: the key is none, was used for another request, or is held by one.
        """
        key = request.headers.get("idempotency-key")
        if key is None:
            return None
        if not re.fullmatch(IDEMPOTENCY_KEY, key):
            raise ProblemError(INVALID_HEADER, "Idempotency-Key: send 1 to 255 visible characters of ASCII.")
        fingerprint = await _fingerprint(request)
        claim = Claim(self.store)
        try:
            kept = await self.store.claim(context_of(request.scope).principal or "", key, fingerprint, claim.token)
        except StateUnavailableError as error:
            raise ProblemError(
                STATE_UNAVAILABLE, f"The database of the keys fails: {error}. Without Idempotency-Key none is needed."
            ) from None
        if kept is None:
            return claim
        if kept.fingerprint != fingerprint:
            raise ProblemError(
                IDEMPOTENCY_KEY_REUSED, "Idempotency-Key: it was used for another request; send each with its own."
            )
        if kept.in_flight:
            _refuse_in_flight()
        return kept


def replay(body: str) -> Response:
    """The answer that was given before."""
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store", **REPLAYED})


def _refuse_in_flight() -> NoReturn:
    raise ProblemError(
        IDEMPOTENCY_IN_FLIGHT, "The request with this Idempotency-Key is still being answered.", retry_after=1
    )


async def _fingerprint(request: Request) -> str:
    """Of what decides about the answer: path, form and body."""
    digest = hashlib.sha256(request.scope["path"].encode())
    digest.update(b"\0%d\0" % ("text/event-stream" in request.headers.get("accept", "")))
    digest.update(await request.body())
    return digest.hexdigest()
