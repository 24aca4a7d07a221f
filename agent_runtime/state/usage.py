"""What was used and asked: a row for each model call, and one for each request to an agent."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace

from agent_runtime.agent.ledger import ModelCall
from agent_runtime.agent.model import Usage
from agent_runtime.cost import Price, Prices
from agent_runtime.pipeline.context import RequestContext
from agent_runtime.state.schema import interactions, model_calls
from agent_runtime.state.write_behind import Row, WriteBehind

_MOST = 2**53
"""Providers are believed what they count, but not beyond what a column holds and JSON can say."""

ROWS_ON_A_DISK = 100_000
"""Most model calls, and most requests, in a database of one pod without a limit: about 100 MB of its volume."""
_SHARE = 8
_ROW_BYTES = 512


def rows_within(max_bytes: int | None) -> int:
    """Most rows of each table in a database of one pod: most of it is for conversations.

    Args:
        max_bytes: most bytes of the database; None: no limit.
    """
    return ROWS_ON_A_DISK if max_bytes is None else min(ROWS_ON_A_DISK, max_bytes // _SHARE // _ROW_BYTES)


class SqlLedger:
    """See Ledger; in the database a call that goes on is told by the most that it can be.

    Args:
        rows: on their way to the database.
        prices: of the models.
        process: id of this process, among those that use the database: a call whose process is gone is unsettled.
    """

    def __init__(self, rows: WriteBehind, prices: Prices, *, process: str) -> None:
        self._rows = rows
        self._prices = prices
        self._process = process

    def book(self, call: ModelCall) -> None:
        """See Ledger.book."""
        self._enter(call)

    def settle(self, call: ModelCall) -> None:
        """See Ledger.settle."""
        self._enter(call)

    def _enter(self, call: ModelCall) -> None:
        price = self._prices.of(call.model, call.answered_by)
        self._rows.put(
            model_calls,
            {
                "id": call.id,
                "process": self._process,
                "request_id": call.request_id,
                "principal": call.principal,
                "agent": call.agent,
                "model": call.model,
                "conversation_id": call.conversation_id,
                "started_at": round(call.started_at * 1000),
                "outcome": call.outcome,
                "is_exact": call.is_exact,
                **_counts(call.usage),
                "cost_microdollars": None if price is None else min(_cost(price, call), _MOST),
            },
        )


class InteractionLog:
    """Requests to agents, as they ended.

    Args:
        rows: on their way to the database.
    """

    def __init__(self, rows: WriteBehind) -> None:
        self._rows = rows

    def note(self, context: RequestContext) -> None:
        """Keep what is known of a request that has ended."""
        self._rows.put(
            interactions,
            {
                "id": uuid.uuid4().hex,
                "request_id": context.request_id,
                "principal": context.principal,
                "agent": context.agent,
                "protocol": context.protocol,
                "route": context.route,
                "status": context.status,
                "outcome": context.outcome,
                "conversation_id": context.conversation_id,
                "model": context.model,
                "message_length": context.message_length,
                "arrived_at": round((time.time() - context.elapsed()) * 1000),
                "milliseconds": round(context.elapsed() * 1000),
                **_counts(context.usage or Usage()),
                "cost_microdollars": context.cost_microdollars,
            },
        )


def _cost(price: Price, call: ModelCall) -> int:
    cost = price.microdollars(call.usage)
    if call.is_exact:
        return cost
    # To write a prompt into the cache costs more than to have it read.
    return max(cost, price.microdollars(replace(call.usage, input=0, cache_write=call.usage.input)))


def _counts(usage: Usage) -> Row:
    return {name: min(count, _MOST) for name, count in usage.document().items()}
