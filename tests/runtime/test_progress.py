"""A turn that another process goes on with."""

from __future__ import annotations

from typing import Any

from agent_runtime.agent.ledger import Account, ModelCall
from agent_runtime.agent.loop import Outcome, run_loop
from agent_runtime.agent.model import Block, Message, Model
from agent_runtime.agent.providers.echo import EchoProvider
from agent_runtime.agent.tools.tool import Tool, ToolOutput
from agent_runtime.config import AgentConfig, ModelConfig
from agent_runtime.cost import Prices
from agent_runtime.pipeline.context import RequestContext
from agent_runtime.pipeline.turn import CalledTool, Progress, Turn, TurnEvent
from tests.runtime.runtime_process import echo_model


class Counter:
    """A tool that counts how often it was called."""

    timeout_seconds = 5.0

    def __init__(self, name: str, *, repeatable: bool) -> None:
        self.source = name
        self.definition: Block = {"name": name, "input_schema": {"type": "object"}}
        self.repeatable = repeatable
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
    tool = Counter("count", repeatable=False)

    outcome, saved = await go_on({"count": tool}, "/tool count {}")

    assert [len(progress.messages) for progress in saved] == [2, 3]
    assert saved[1].messages == outcome.progress.messages[:3]
    assert [called.outcome for called in saved[1].tool_calls] == ["ok"]
    assert saved[0].usage.output == 1


async def test_a_turn_goes_on_where_it_was_left() -> None:
    tool = Counter("count", repeatable=False)
    whole, saved = await go_on({"count": tool}, "/tool count {}")

    again, _ = await go_on({"count": tool}, "/tool count {}", saved[1])

    assert len(tool.made) == 1
    assert again.progress.messages == whole.progress.messages
    assert again.progress.usage == whole.progress.usage
    assert [called.outcome for called in again.progress.tool_calls] == ["ok"]


async def test_a_call_that_may_have_been_made_is_made_again_only_where_that_does_no_harm() -> None:
    safe, unsafe = Counter("safe", repeatable=True), Counter("unsafe", repeatable=False)
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


async def test_progress_outlives_its_process_as_json() -> None:
    _, saved = await go_on({"count": Counter("count", repeatable=False)}, "/tool count {}")

    assert Progress.loads(saved[1].dumps()) == saved[1]
    assert isinstance(Progress.loads(saved[1].dumps()).tool_calls[0], CalledTool)
    plain = Progress((Message("user", "Hi"),))
    assert Progress.loads(plain.dumps()) == plain
