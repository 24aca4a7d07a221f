"""The agent's part of a turn: history, the loop, answer, memory."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Mapping

from agent_runtime.agent.answer_schema import check_answer
from agent_runtime.agent.history import trimmed
from agent_runtime.agent.ledger import Account, Ledger
from agent_runtime.agent.loop import run_loop
from agent_runtime.agent.model import Model, ModelCallError, TextDelta
from agent_runtime.agent.sources import sources_of
from agent_runtime.agent.tools import offered
from agent_runtime.agent.tools.tool import ToolSource
from agent_runtime.api.errors import CONVERSATION_NOT_FOUND, STATE_UNAVAILABLE, UPSTREAM_OVERLOADED, ProblemError
from agent_runtime.cost import Prices
from agent_runtime.pipeline.turn import (
    ApprovalNeeded,
    Emit,
    Handler,
    ToolCall,
    ToolResult,
    Turn,
    TurnResult,
    TurnStarted,
)
from agent_runtime.state.conversations import ConversationStore, Messages
from agent_runtime.state.database import StateUnavailableError

OVERLOADED_RETRY_SECONDS = 5
"""What a caller is told to wait where an overloaded provider does not say."""


def agent_handler(
    models: Mapping[str, Model],
    prices: Prices,
    ledger: Ledger,
    tools: Mapping[str, ToolSource],
    conversations: ConversationStore,
    *,
    max_history_tokens: int,
) -> Handler:
    """What answers turns, once they have passed all stages."""

    async def answer(turn: Turn, emit: Emit) -> TurnResult:
        model = models[turn.agent.model]
        turn.context.model = model.name
        history = trimmed(await _history(turn, conversations), max_history_tokens)
        # Ids are ours, so nobody can take or guess the id of somebody else's conversation.
        conversation_id = turn.conversation_id or (uuid.uuid4().hex if turn.store else None)
        turn.context.conversation_id = conversation_id
        account = Account(ledger, turn.context.request_id, turn.principal, turn.agent.name, conversation_id)
        shown = _Shown(turn, conversation_id, conversations, emit)
        own_tools = await offered(tools[name] for name in turn.agent.tools)
        try:
            outcome = await run_loop(
                turn, model=model, prices=prices, account=account, tools=own_tools, history=history, show=shown.show
            )
        except ModelCallError as error:
            raise _as_problem(error) from None
        except ApprovalNeeded:
            # Where the turn goes on, it goes on in this conversation.
            await shown.begin_conversation()
            raise
        await shown.start()
        progress, completed = outcome.progress, outcome.completed
        if turn.output_schema is not None:
            await asyncio.to_thread(check_answer, shown.text, turn.output_schema)
        # An empty message could not be sent again.
        messages = progress.messages if progress.messages[-1].content else progress.messages[:-1]
        if conversation_id is not None and len(messages) > 1:
            await conversations.append(turn.principal, turn.agent.name, conversation_id, *messages)
        else:
            await shown.begin_conversation()  # its id is told even where nothing can be kept
        return TurnResult(
            conversation_id,
            shown.text,
            completed.model,
            completed.stop_reason,
            progress.usage,
            progress.cost_microdollars,
            progress.tool_calls,
            sources_of(progress.messages),
        )

    return _telling_of_state(answer)


class _Shown:
    """What the caller has been told so far."""

    def __init__(self, turn: Turn, conversation_id: str | None, conversations: ConversationStore, emit: Emit) -> None:
        self._turn = turn
        self._conversation_id = conversation_id
        self._conversations = conversations
        self._emit = emit
        self._started = False
        self._begun = False
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """What the model has said since it last called tools: before that, it said what it was about to do."""
        return "".join(self._pieces)

    async def start(self) -> None:
        """Tell that the answer begins, unless it has begun."""
        if self._started:
            return
        self._started = True
        if self._turn.streamed:
            # The caller learns the id now, so it must be good even if the rest of the answer fails.
            await self.begin_conversation()
        await self._emit(TurnStarted(self._conversation_id))

    async def begin_conversation(self) -> None:
        """Make the conversation, where it is a new one and has not begun."""
        turn = self._turn
        if self._conversation_id is not None and turn.conversation_id is None and not self._begun:
            self._begun = True
            if turn.reserve is not None:
                await turn.reserve(self._conversation_id)
            await self._conversations.append(turn.principal, turn.agent.name, self._conversation_id)

    async def show(self, event: TextDelta | ToolCall | ToolResult) -> None:
        """Tell what happens."""
        await self.start()
        if isinstance(event, TextDelta):
            self._pieces.append(event.text)
        elif isinstance(event, ToolCall):
            self._pieces.clear()
        await self._emit(event)


def _telling_of_state(handler: Handler) -> Handler:
    async def answer(turn: Turn, emit: Emit) -> TurnResult:
        try:
            return await handler(turn, emit)
        except StateUnavailableError as error:
            detail = f"The database of the conversations fails: {error}. With store: false nothing needs to be kept."
            raise ProblemError(STATE_UNAVAILABLE, detail) from None

    return answer


async def _history(turn: Turn, conversations: ConversationStore) -> Messages:
    if turn.conversation_id is None:
        return ()
    messages = await conversations.load(turn.principal, turn.agent.name, turn.conversation_id)
    if messages is None:
        # Also for somebody else's conversation: that it exists is nobody's business.
        raise ProblemError(
            CONVERSATION_NOT_FOUND,
            "It has ended, or was never yours with this agent; leave conversation_id out for a new one.",
        )
    return messages


def _as_problem(error: ModelCallError) -> ProblemError:
    retry_after = None
    if error.kind is UPSTREAM_OVERLOADED:
        retry_after = math.ceil(error.retry_after or OVERLOADED_RETRY_SECONDS)
    return ProblemError(error.kind, error.detail, retry_after=retry_after)
