"""The agent's part of a turn: history, model call, answer, memory."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Mapping

from agent_runtime.agent.answer_schema import check_answer
from agent_runtime.agent.model import Message, Model, ModelCallError, ModelRequest, TextDelta
from agent_runtime.agent.model_call import call_model
from agent_runtime.api.errors import CONVERSATION_NOT_FOUND, STATE_UNAVAILABLE, UPSTREAM_OVERLOADED, ProblemError
from agent_runtime.cost import Prices
from agent_runtime.pipeline.turn import Emit, Handler, Turn, TurnResult, TurnStarted
from agent_runtime.state.conversations import ConversationStore, Messages
from agent_runtime.state.database import StateUnavailableError

OVERLOADED_RETRY_SECONDS = 5
"""What a caller is told to wait where an overloaded provider does not say."""


def agent_handler(models: Mapping[str, Model], prices: Prices, conversations: ConversationStore) -> Handler:
    """What answers turns, once they have passed all stages."""

    async def answer(turn: Turn, emit: Emit) -> TurnResult:
        model = models[turn.agent.model]
        turn.context.model = model.name
        history = await _history(turn, conversations)
        # Ids are ours, so nobody can take or guess the id of somebody else's conversation.
        conversation_id = turn.conversation_id or (uuid.uuid4().hex if turn.store else None)
        turn.context.conversation_id = conversation_id
        question = Message("user", turn.content)
        pieces: list[str] = []

        async def start() -> None:
            if conversation_id is not None and turn.conversation_id is None:
                # The caller learns the id now, so it must be good even if the rest of the answer fails.
                await conversations.append(turn.principal, turn.agent.name, conversation_id)
            await emit(TurnStarted(conversation_id))

        async def on_text(text: str) -> None:
            if not pieces:
                await start()
            pieces.append(text)
            await emit(TextDelta(text))

        request = ModelRequest(
            turn.agent.system_prompt, (*history, question), model.max_tokens, output_schema=turn.output_schema
        )
        try:
            answered = await call_model(model, request, agent=turn.agent.name, on_text=on_text)
        except ModelCallError as error:
            raise _as_problem(error) from None
        if not pieces:
            await start()
        completed = answered.completed
        turn.context.usage = completed.usage
        price = prices.of(model.name, completed.model)
        turn.context.cost_microdollars = cost = None if price is None else price.microdollars(completed.usage)
        text = "".join(pieces)
        if turn.output_schema is not None:
            await asyncio.to_thread(check_answer, text, turn.output_schema)
        if conversation_id is not None and answered.message.content:
            await conversations.append(turn.principal, turn.agent.name, conversation_id, question, answered.message)
        return TurnResult(conversation_id, text, completed.model, completed.stop_reason, completed.usage, cost)

    return _telling_of_state(answer)


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
