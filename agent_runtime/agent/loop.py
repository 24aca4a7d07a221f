"""The agent loop: model calls, and the tools that they ask for, until there is an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from agent_runtime.agent.history import without_tools
from agent_runtime.agent.ledger import Account
from agent_runtime.agent.model import Block, Completed, Message, Model, ModelRequest, TextDelta, as_content
from agent_runtime.agent.model_call import call_model
from agent_runtime.agent.tools.calls import FENCE_RULES, CallResult, refusal, run_calls
from agent_runtime.agent.tools.tool import Tool
from agent_runtime.cost import Prices
from agent_runtime.pipeline.turn import CalledTool, Progress, ToolCall, ToolResult, Turn

_LOST = (
    "The process ended while the tool was called. What it was to do may be done or not: find out before you call it "
    "again, or say so."
)

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
    """
    agent = turn.agent
    definitions = tuple(tools[name].definition for name in sorted(tools))
    system = agent.system_prompt + FENCE_RULES if tools else agent.system_prompt
    if not tools:
        history = without_tools(history)
    progress = turn.progress or Progress((Message("user", turn.content),))
    interrupted = turn.progress is not None
    here = Progress(())  # what this process has used, which its metrics count

    async def show_text(text: str) -> None:
        await show(TextDelta(text))

    while True:
        if calls := _calls(progress.messages[-1]):
            progress = await _run(turn, progress, calls, tools, interrupted=interrupted, show=show)
            await _save(turn, progress)
        interrupted = False
        is_last = sum(message.role == "assistant" for message in progress.messages) + 1 >= agent.max_turns
        request = ModelRequest(
            system,
            (*history, *progress.messages),
            model.max_tokens,
            tools=definitions,
            may_call=bool(definitions) and not is_last,
            output_schema=turn.output_schema,
        )
        answer = await call_model(model, request, account=account, on_text=show_text)
        progress = _with_cost(progress, answer.completed, model, prices)
        here = _with_cost(here, answer.completed, model, prices)
        turn.context.usage, turn.context.cost_microdollars = here.usage, here.cost_microdollars
        goes_on = answer.completed.stop_reason == "tool_use" and request.may_call and _calls(answer.message)
        message = answer.message if goes_on else _without_calls(answer.message)
        progress = replace(progress, messages=(*progress.messages, message))
        if not goes_on:
            return Outcome(progress, answer.completed)
        await _save(turn, progress)


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
    lost = [call for call in calls if interrupted and call["name"] in tools and not tools[call["name"]].repeatable]
    results = await run_calls(
        tools,
        calls,
        agent=turn.agent.name,
        refused={call["id"]: refusal(call, "outcome_unknown", _LOST) for call in lost},
        on_result=on_result,
    )
    messages = (*progress.messages, Message("user", results))
    return replace(progress, messages=messages, tool_calls=(*progress.tool_calls, *ended))


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


def _calls(message: Message) -> tuple[Block, ...]:
    """The calls in an answer that are ours to run."""
    if message.role != "assistant" or isinstance(message.content, str):
        return ()
    return tuple(block for block in message.content if block["type"] == "tool_use")


def _without_calls(message: Message) -> Message:
    """An answer that can stand in a conversation: a call without its result could not be sent again."""
    if isinstance(message.content, str):
        return message
    return Message("assistant", as_content([block for block in message.content if block["type"] != "tool_use"]))
