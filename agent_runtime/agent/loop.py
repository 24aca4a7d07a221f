"""The agent loop: model calls, and the tools that they ask for, until there is an answer."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from agent_runtime.agent.history import without_tools
from agent_runtime.agent.ledger import Account
from agent_runtime.agent.model import Block, BlockDone, Completed, Message, Model, ModelRequest, TextDelta
from agent_runtime.agent.model_call import Answer, call_model
from agent_runtime.agent.provider_tools import provider_call, provider_calls, without_open_calls
from agent_runtime.agent.tools.calls import FENCE_RULES, CallResult, refusal, run_calls
from agent_runtime.agent.tools.tool import Tool
from agent_runtime.cost import Prices
from agent_runtime.pipeline.turn import ApprovalNeeded, CalledTool, Progress, ToolCall, ToolResult, Turn

_LOST = (
    "The process ended while the tool was called. What it was to do may be done or not: find out before you call it "
    "again, or say so."
)

_DENIED = "A person was asked, and did not allow this call."

_GONE = "A person allowed this call, but the tool is not there now: nothing was done."

_CALL_ID = re.compile(r"[-A-Za-z0-9_]{1,128}")
"""As the Messages API takes them back."""

Show = Callable[[TextDelta | ToolCall | ToolResult], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a loop came to."""

    progress: Progress
    """With the answer as the last message."""
    completed: Completed
    """The end of the last model call."""


async def run_loop(
    turn: Turn,
    *,
    model: Model,
    prices: Prices,
    account: Account,
    tools: Mapping[str, Tool],
    history: tuple[Message, ...],
    show: Show,
) -> Outcome:
    """Answer a turn, or go on with one that has got somewhere.

    Args:
        turn: what is asked, and by its ``progress`` what has been done.
        model: whom to ask.
        prices: of each model call by itself, since long prompts may cost more per token.
        account: on which model calls are booked.
        tools: what the agent may call, by the names that the model uses.
        history: of the conversation before this turn.
        show: gets text and tool calls as they happen.

    Raises:
        ModelCallError: a model call failed.
        ApprovalNeeded: calls wait for a decision; it has the progress, which has not been kept.
    """
    agent = turn.agent
    definitions = tuple(tools[name].definition for name in sorted(tools))
    system = agent.system_prompt + FENCE_RULES if tools else agent.system_prompt
    if not tools:
        history = without_tools(history)
    progress = turn.progress or Progress((Message("user", turn.content),))
    interrupted = progress.begun
    here = Progress(())  # what this process has used, which its metrics count

    async def on_event(event: TextDelta | BlockDone) -> None:
        if isinstance(event, TextDelta):
            await show(event)
        elif (told := provider_call(event.block)) is not None:
            await show(told)

    while True:
        if calls := _calls(progress.messages[-1]):
            if waiting := _waiting(calls, tools, progress):
                raise ApprovalNeeded(progress, waiting)
            if not progress.begun:
                progress = replace(progress, begun=True)
                await _save(turn, progress)
            progress = await _run(turn, progress, calls, tools, interrupted=interrupted, show=show)
            await _save(turn, progress)
        interrupted = False
        is_last = sum(message.role == "assistant" for message in progress.messages) + 1 >= agent.max_turns
        request = ModelRequest(
            system,
            (*history, *progress.messages),
            model.max_tokens,
            tools=definitions or _stand_ins(progress),
            may_call=bool(definitions) and not is_last,
            output_schema=turn.output_schema,
        )
        answer = await call_model(model, request, account=account, on_event=on_event)
        progress = _with_cost(progress, answer.completed, model, prices)
        here = _with_cost(here, answer.completed, model, prices)
        turn.context.usage, turn.context.cost_microdollars = here.usage, here.cost_microdollars
        goes_on = not is_last and _goes_on(answer, tools)
        message = _with_own_ids(answer.message, progress) if goes_on else without_open_calls(answer.message)
        progress = replace(
            progress,
            messages=(*progress.messages, message),
            tool_calls=(*progress.tool_calls, *provider_calls(message)),
        )
        if not goes_on:
            return Outcome(progress, answer.completed)


def _goes_on(answer: Answer, tools: Mapping[str, Tool]) -> bool:
    """Whether the model wants to be called again: with results, or to go on with searches that take long."""
    reason = answer.completed.stop_reason
    return bool(tools) and (reason == "pause_turn" or (reason == "tool_use" and bool(_calls(answer.message))))


async def _run(
    turn: Turn,
    progress: Progress,
    calls: tuple[Block, ...],
    tools: Mapping[str, Tool],
    *,
    interrupted: bool,
    show: Show,
) -> Progress:
    """The progress with the results of `calls`; `interrupted`: another process may have made them."""
    ended: list[CalledTool] = []

    async def on_result(result: CallResult) -> None:
        call = result.call
        ended.append(CalledTool(call["id"], call["name"], call["input"], result.outcome, result.seconds))
        await show(ToolResult(call["id"], call["name"], result.outcome, result.seconds))

    for call in calls:
        await show(ToolCall(call["id"], call["name"], call["input"]))
    refused: dict[str, CallResult] = {}
    for call in calls:
        tool, decision = tools.get(call["name"]), progress.decisions.get(call["id"])
        if decision == "deny":
            refused[call["id"]] = refusal(call, "denied", _DENIED)
        elif interrupted and (tool is None or not tool.repeatable):
            refused[call["id"]] = refusal(call, "outcome_unknown", _LOST)
        elif tool is None and decision == "approve":
            # A process knows no tools of a server that was away since it began.
            refused[call["id"]] = refusal(call, "unavailable", _GONE)
    results = await run_calls(
        tools,
        calls,
        agent=turn.agent.name,
        refused=refused,
        on_result=on_result,
    )
    messages = (*progress.messages, Message("user", results))
    return replace(progress, messages=messages, tool_calls=(*progress.tool_calls, *ended), begun=False)


def _waiting(calls: tuple[Block, ...], tools: Mapping[str, Tool], progress: Progress) -> tuple[Block, ...]:
    """The calls on which people have still to decide."""
    return tuple(
        call
        for call in calls
        if call["name"] in tools and tools[call["name"]].needs_approval and call["id"] not in progress.decisions
    )


def _stand_ins(progress: Progress) -> tuple[Block, ...]:
    """Definitions for the calls of a turn whose tools are all away: providers refuse messages with calls of none."""
    names = {call["name"] for message in progress.messages for call in _calls(message)}
    return tuple({"name": name, "input_schema": {"type": "object"}} for name in sorted(names))


def _with_cost(progress: Progress, completed: Completed, model: Model, prices: Prices) -> Progress:
    """The progress with what a model call used."""
    price = prices.of(model.name, completed.model)
    cost = progress.cost_microdollars
    if cost is not None:
        cost = None if price is None else cost + price.microdollars(completed.usage)
    return replace(progress, usage=progress.usage + completed.usage, cost_microdollars=cost)


async def _save(turn: Turn, progress: Progress) -> None:
    if turn.save is not None:
        await turn.save(progress)


def _with_own_ids(answer: Message, progress: Progress) -> Message:
    """An answer whose calls have ids that no other call of the turn has, and that can stand in a path.

    People decide by id: a model that used one again would have what was approved of another call.
    """
    taken = {call["id"] for message in progress.messages for call in _calls(message)}
    if isinstance(answer.content, str):
        return answer
    blocks: list[Block] = []
    for block in answer.content:
        is_call = block["type"] == "tool_use"
        renamed = is_call and (block["id"] in taken or not _CALL_ID.fullmatch(block["id"]))
        blocks.append({**block, "id": f"toolu_{uuid.uuid4().hex}"} if renamed else block)
        if is_call:
            taken.add(blocks[-1]["id"])
    return replace(answer, content=tuple(blocks))


def _calls(message: Message) -> tuple[Block, ...]:
    """The calls in an answer that are ours to run."""
    if message.role != "assistant" or isinstance(message.content, str):
        return ()
    return tuple(block for block in message.content if block["type"] == "tool_use")
