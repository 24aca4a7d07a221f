"""One model call: its tries, until the first of them that shows something."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from agent_runtime import metrics
from agent_runtime.agent.ledger import Account, ModelCall
from agent_runtime.agent.model import (
    Block,
    BlockDone,
    BlockStarted,
    Completed,
    Message,
    Model,
    ModelCallError,
    ModelEvent,
    ModelRequest,
    TextDelta,
    as_content,
)
from agent_runtime.api.errors import UPSTREAM_INTERRUPTED, UPSTREAM_TIMEOUT

FIRST_BACKOFF_SECONDS = 0.25
MAX_BACKOFF_SECONDS = 4.0
"""A provider that asks for a longer wait is not asked again: the caller is told, who can wait better than we."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered."""

    message: Message
    completed: Completed


async def call_model(
    model: Model,
    request: ModelRequest,
    *,
    account: Account,
    on_event: Callable[[TextDelta | BlockDone], Awaitable[None]],
) -> Answer:
    """Ask the model, again where a try fails before its first text and may succeed later.

    Args:
        model: whom to ask.
        request: what to ask.
        account: on which each try is booked.
        on_event: gets each piece of text and each complete block.

    Raises:
        ModelCallError: of the last try.
    """
    shown = False

    async def show(event: TextDelta | BlockDone) -> None:
        nonlocal shown
        shown = shown or isinstance(event, TextDelta)
        await on_event(event)

    for attempt in range(model.retries + 1):
        call = account.book(model.name, request)
        try:
            answer = await _try_once(model, request, call=call, on_event=show)
        except ModelCallError as error:
            call.fail(error.kind.code)
            metrics.MODEL_CALLS.labels(model.name, error.kind.code).inc()
            model.health.failed(error.kind)
            pause = _pause(attempt, error.retry_after)
            if shown or not error.retryable or attempt == model.retries or pause is None:
                raise
        except asyncio.CancelledError:
            metrics.MODEL_CALLS.labels(model.name, "canceled").inc()
            raise
        else:
            call.complete(answer.completed)
            metrics.MODEL_CALLS.labels(model.name, "ok").inc()
            model.health.succeeded()
            return answer
        finally:
            if call.outcome is None:  # nobody takes the rest of the answer
                call.fail("canceled")
            account.settle(call)
        await asyncio.sleep(pause)
    raise AssertionError("the last try returns or raises")


async def _try_once(
    model: Model,
    request: ModelRequest,
    *,
    call: ModelCall,
    on_event: Callable[[TextDelta | BlockDone], Awaitable[None]],
) -> Answer:
    began = time.monotonic()
    blocks: list[Block] = []
    async with aclosing(model.provider.stream(request)) as events:
        event = await _first_event(model, events)
        call.is_answered = True
        metrics.TIME_TO_FIRST_TOKEN.labels(call.agent, model.name).observe(time.monotonic() - began)
        while not isinstance(event, Completed):
            if not isinstance(event, BlockStarted):
                await on_event(event)
            if isinstance(event, BlockDone):
                blocks.append(event.block)
            try:
                event = await anext(events)
            except StopAsyncIteration:
                raise ModelCallError(UPSTREAM_INTERRUPTED, "The provider ended its answer early.") from None
        return Answer(Message("assistant", as_content(blocks)), event)


async def _first_event(model: Model, events: AsyncGenerator[ModelEvent, None]) -> ModelEvent:
    limit = model.first_token_timeout_seconds
    try:
        async with asyncio.timeout(limit):
            return await anext(events)
    except TimeoutError:
        raise ModelCallError(
            UPSTREAM_TIMEOUT, f"Model {model.name} showed nothing within {limit:g} s.", retryable=True
        ) from None
    except StopAsyncIteration:
        raise ModelCallError(
            UPSTREAM_INTERRUPTED, "The provider ended its answer before it began.", retryable=True
        ) from None


def _pause(attempt: int, retry_after: float | None) -> float | None:
    """Seconds before the next try; None: too long to wait here."""
    if retry_after is not None:
        return retry_after if retry_after <= MAX_BACKOFF_SECONDS else None
    # Half of it random, so that callers who failed together do not come back together.
    pause: float = min(FIRST_BACKOFF_SECONDS * 2**attempt, MAX_BACKOFF_SECONDS)
    return pause * random.uniform(0.5, 1)  # noqa: S311 - no secret
