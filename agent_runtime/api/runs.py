"""GET /v1/runs/{run_id}/events: the events of a run from anywhere on, while it runs and after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from agent_runtime.api.answers import ChatEvent
from agent_runtime.api.errors import (
    INVALID_HEADER,
    OVERLOADED,
    RUN_INTERRUPTED,
    RUN_NOT_FOUND,
    SHUTTING_DOWN,
    STATE_UNAVAILABLE,
    TOO_MANY_FOLLOWERS,
    ProblemError,
)
from agent_runtime.api.event_stream import LAST_EVENT_ID, EventStream, encoded, last_event_id
from agent_runtime.api.followers import Followers
from agent_runtime.api.live_runs import LiveRuns
from agent_runtime.api.openapi import operation
from agent_runtime.pipeline.context import context_of
from agent_runtime.pipeline.departure import Departure
from agent_runtime.pipeline.interruption import Turns, while_present
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.runs import Kept

POLL_SECONDS = 1.0
"""Between two looks at a run of another replica."""


def run_routes(runs: LiveRuns, turns: Turns, followers: Followers) -> APIRouter:
    """The routes of runs that are kept."""
    router = APIRouter(tags=["Chat"])

    described = operation(
        "Read a run",
        headers=LAST_EVENT_ID,
        events=ChatEvent,
        problems=[
            INVALID_HEADER,
            RUN_NOT_FOUND,
            TOO_MANY_FOLLOWERS,
            RUN_INTERRUPTED,
            OVERLOADED,
            SHUTTING_DOWN,
            STATE_UNAVAILABLE,
        ],
    )

    @router.get("/v1/runs/{run_id}/events", **described)
    async def events(request: Request, run_id: str) -> Response:
        return RunResponse(runs, turns, followers, run_id, after=last_event_id(request))

    return router


class RunResponse(Response):
    """The events of a run, to one caller; who leaves does not end it.

    Args:
        runs: those of this process, and those that are kept.
        turns: end this answer with the process.
        followers: of whom this is one.
        run_id: which run.
        after: id of the event after which to begin.
        headers: further ones of the answer.
    """

    def __init__(
        self,
        runs: LiveRuns,
        turns: Turns,
        followers: Followers,
        run_id: str,
        *,
        after: int,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._runs = runs
        self._turns = turns
        self._followers = followers
        self._run_id = run_id
        self._after = after
        self._more_headers = headers or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._followers.place(context_of(scope).principal or ""):
            await self._follow(scope, receive, send)

    async def _follow(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        stream = EventStream(send, headers=self._more_headers)
        principal = context.principal or ""
        try:
            async with Departure(receive) as departure, stream.kept_alive():
                live = self._runs.find(principal, self._run_id)
                # A run of this process has its own last word where the process ends.
                present = self._turns.ended_with(departure) if live is None else while_present(departure)
                async with present:
                    async for events in self._kept_events(principal) if live is None else live.read(self._after):
                        await stream.write(events)
        except ProblemError as problem:
            if not stream.started:
                raise
            context.fail(problem.kind.status, problem.kind.code)
            await stream.write(self._told(problem, scope, context.request_id))
        await stream.end()

    async def _kept_events(self, principal: str) -> AsyncIterator[bytes]:
        after = self._after
        while True:
            kept = await self._kept(principal, after)
            if kept.events:
                yield kept.events
            after = kept.last_id
            if kept.status == "ended":
                return
            if kept.status == "interrupted":
                raise ProblemError(RUN_INTERRUPTED, "What it had said until then is all that is known of its answer.")
            await asyncio.sleep(POLL_SECONDS)

    async def _kept(self, principal: str, after: int) -> Kept:
        try:
            kept = await self._runs.store.read(principal, self._run_id, after)
        except StateUnavailableError as error:
            raise ProblemError(STATE_UNAVAILABLE, f"The database of the runs fails: {error}.") from None
        if kept is None:
            # Also for somebody else's: that it exists is nobody's business.
            raise ProblemError(RUN_NOT_FOUND, "It was not kept, or no longer is, or was never yours.")
        return kept

    def _told(self, problem: ProblemError, scope: Scope, request_id: str) -> bytes:
        """The problem as an event; without an id, since it is none of the run's."""
        fields: dict[str, Any] = {"run_id": self._run_id}
        fields |= problem.document(path=scope["path"], request_id=request_id)
        del fields["type"]
        return encoded(None, "error", fields)
