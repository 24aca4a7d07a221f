"""Stage: a turn that has its place is answered within the request timeout."""

from __future__ import annotations

import asyncio

from agent_runtime.api.errors import DEADLINE_EXCEEDED, ProblemError
from agent_runtime.pipeline.turn import Emit, Handler, Stage, Turn, TurnResult


def deadline(seconds: float) -> Stage:
    """End the turn after `seconds`."""

    def wrap(handler: Handler) -> Handler:
        async def stage(turn: Turn, emit: Emit) -> TurnResult:
            limit = asyncio.timeout(seconds)
            try:
                async with limit:
                    return await handler(turn, emit)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise ProblemError(
                    DEADLINE_EXCEEDED, f"The agent did not finish within {seconds:g} s (requestTimeoutSeconds)."
                ) from None

        return stage

    return wrap
