"""A turn that another process goes on with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent_runtime.agent.ledger import Account, ModelCall
from agent_runtime.agent.loop import Outcome, run_loop
from agent_runtime.agent.model import Block, Message, Model
from agent_runtime.agent.providers.echo import EchoProvider
from agent_runtime.agent.tools.tool import Tool, ToolOutput
from agent_runtime.config import AgentConfig, ModelConfig
from agent_runtime.cost import Prices
from agent_runtime.pipeline.context import RequestContext
from agent_runtime.pipeline.turn import ApprovalNeeded, CalledTool, Decision, Progress, Turn, TurnEvent
from tests.runtime.runtime_process import echo_model


class Counter:
    """A tool that counts how often it was called."""

    timeout_seconds = 5.0

    def __init__(self, name: str, *, repeatable: bool = False, needs_approval: bool = False) -> None:
        self.source = name
        self.definition: Block = {"name": name, "input_schema": {"type": "object"}}
        self.repeatable = repeatable
        self.needs_approval = needs_approval
        self.made: list[str] = []

    async def call(self, _arguments: dict[str, Any], *, call_id: str) -> ToolOutput:
        self.made.append(call_id)
        return ToolOutput("done")

    async def aclose(self) -> None:
        """Nothing is held."""


class NoLedger:
    """Where nothing is entered."""

    def book(self, call: ModelCall) -> None:
        """Nobody looks."""

    def settle(self, call: ModelCall) -> None:
        """Nobody looks."""


async def go_on(
    tools: dict[str, Tool], content: str, progress: Progress | None = None
) -> tuple[Outcome, list[Progress]]:
    """Run a turn of Echo; returns what it came to and the progress that it saved."""
    saved: list[Progress] = []

    async def save(now: Progress) -> None:
        saved.append(now)

    async def show(_: TurnEvent) -> None:
        """Nobody looks."""

    turn = Turn(
        context=RequestContext("id"),
        principal="demo",
        agent=AgentConfig(name="main", system_prompt="", model="main", tools=tuple(tools)),
        content=content,
        conversation_id=None,
        store=False,
        departure=None,
        progress=progress,
        save=save,
    )
    model = Model("main", EchoProvider(), max_tokens=100, first_token_timeout_seconds=5, retries=0)
    return await run_loop(
        turn,
        model=model,
        prices=Prices([ModelConfig.model_validate(echo_model())], None),
        account=Account(NoLedger(), "id", "demo", "main", None),
        tools=tools,
        history=(),
        show=show,
    ), saved


async def test_the_progress_is_kept_after_each_model_call_and_after_the_tools_of_it() -> None:
    tool = Counter("count")

    outcome, saved = await go_on({"count": tool}, "/tool count {}")

    assert [len(progress.messages) for progress in saved] == [2, 3]
    assert saved[1].messages == outcome.progress.messages[:3]
    assert [called.outcome for called in saved[1].tool_calls] == ["ok"]
    assert saved[0].usage.output == 1


async def test_a_turn_goes_on_where_it_was_left() -> None:
    tool = Counter("count")
    whole, saved = await go_on({"count": tool}, "/tool count {}")

    again, _ = await go_on({"count": tool}, "/tool count {}", saved[1])

    assert len(tool.made) == 1
    assert again.progress.messages == whole.progress.messages
    assert again.progress.usage == whole.progress.usage
    assert [called.outcome for called in again.progress.tool_calls] == ["ok"]


async def test_a_call_that_may_have_been_made_is_made_again_only_where_that_does_no_harm() -> None:
    safe, unsafe = Counter("safe", repeatable=True), Counter("unsafe")
    tools: dict[str, Tool] = {"safe": safe, "unsafe": unsafe}
    _, saved = await go_on(tools, "/tool safe {}\n/tool unsafe {}")
    first = [*safe.made, *unsafe.made]

    again, _ = await go_on(tools, "", saved[0])

    # The same call, so the same key against repetition.
    assert [*safe.made, *unsafe.made] == [first[0], first[0], first[1]]
    assert {called.name: called.outcome for called in again.progress.tool_calls} == {
        "safe": "ok",
        "unsafe": "outcome_unknown",
    }
    results = again.progress.messages[2].content
    assert isinstance(results, tuple)
    assert "may be done or not" in results[1]["content"]


async def test_a_call_that_may_have_been_made_of_a_tool_that_is_away_now_is_told_as_such() -> None:
    _, saved = await go_on({"count": Counter("count")}, "/tool count {}")

    again, _ = await go_on({}, "", saved[0])

    assert [called.outcome for called in again.progress.tool_calls] == ["outcome_unknown"]


async def test_no_tool_of_an_answer_is_called_before_people_have_decided() -> None:
    free, careful = Counter("free"), Counter("careful", needs_approval=True)

    with pytest.raises(ApprovalNeeded) as needed:
        await go_on({"free": free, "careful": careful}, "/tool free {}\n/tool careful {}")

    assert [call["name"] for call in needed.value.calls] == ["careful"]
    assert [*free.made, *careful.made] == []


@pytest.mark.parametrize(("decision", "outcome"), [("approve", "ok"), ("deny", "denied")])
async def test_a_turn_goes_on_with_the_decision(decision: Decision, outcome: str) -> None:
    free, careful = Counter("free"), Counter("careful", needs_approval=True)
    tools: dict[str, Tool] = {"free": free, "careful": careful}
    with pytest.raises(ApprovalNeeded) as needed:
        await go_on(tools, "/tool free {}\n/tool careful {}")
    [call] = needed.value.calls

    decided = replace(Progress.loads(needed.value.progress.dumps()), decisions={call["id"]: decision})
    again, saved = await go_on(tools, "", decided)

    outcomes = {called.name: called.outcome for called in again.progress.tool_calls}
    assert outcomes == {"free": "ok", "careful": outcome}
    assert (len(free.made), len(careful.made)) == (1, int(decision == "approve"))
    # Kept before the tools are called: a process that dies now does not call them again.
    assert [progress.begun for progress in saved] == [True, False]


async def test_a_decision_is_about_one_call_and_no_other() -> None:
    careful = Counter("careful", needs_approval=True)
    with pytest.raises(ApprovalNeeded) as needed:
        await go_on({"careful": careful}, "/tool careful {}\n/tool careful {}")
    first, second = needed.value.calls

    decided = replace(needed.value.progress, decisions={first["id"]: "approve"})
    with pytest.raises(ApprovalNeeded) as still_needed:
        await go_on({"careful": careful}, "", decided)

    assert still_needed.value.calls == (second,)
    assert careful.made == []


async def test_progress_outlives_its_process_as_json() -> None:
    _, saved = await go_on({"count": Counter("count")}, "/tool count {}")

    assert Progress.loads(saved[1].dumps()) == saved[1]
    assert isinstance(Progress.loads(saved[1].dumps()).tool_calls[0], CalledTool)
    plain = Progress((Message("user", "Hi"),))
    assert Progress.loads(plain.dumps()) == plain
