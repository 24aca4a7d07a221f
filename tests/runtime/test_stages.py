"""Single stages, in process: what a healthy server over a socket does not show."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.types import Message as AsgiMessage

from agent_runtime.agent.model import Message, Usage
from agent_runtime.agent.providers.echo import EchoProvider
from agent_runtime.api.errors import OVERLOADED, SHUTTING_DOWN, ProblemError
from agent_runtime.config import AgentConfig
from agent_runtime.pipeline import body_limit as body_limit_stage
from agent_runtime.pipeline.admission import Admission
from agent_runtime.pipeline.body_limit import body_limit
from agent_runtime.pipeline.context import RequestContext
from agent_runtime.pipeline.conversation_lock import ConversationLock
from agent_runtime.pipeline.interruption import ClientGoneError, Interruption, Turns
from agent_runtime.pipeline.problems import problems
from agent_runtime.pipeline.request_id import request_id
from agent_runtime.pipeline.turn import Turn, TurnEvent, TurnResult

RESULT = TurnResult(None, "", "echo", "end_turn", Usage(), 0)


async def call(app: ASGIApp, *bodies: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> tuple[int, dict[str, Any]]:
    """Status and document of an answer to a POST whose body arrives in these pieces, and then no more."""
    sent: list[AsgiMessage] = []
    pieces = iter(bodies)

    async def receive() -> AsgiMessage:
        for piece in pieces:
            return {"type": "http.request", "body": piece, "more_body": True}
        await asyncio.Event().wait()
        raise AssertionError("nothing sets that event")

    async def send(message: AsgiMessage) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/chat", "headers": list(headers)}
    await app(scope, receive, send)
    return sent[0]["status"], orjson.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def turn(conversation_id: str | None = None, *, message: str = "Hi", batch_priority: int | None = None) -> Turn:
    agent = AgentConfig(name="main", system_prompt="", model="main")
    return Turn(
        RequestContext("id"),
        "demo",
        agent,
        message,
        conversation_id,
        store=True,
        departure=None,
        batch_priority=batch_priority,
    )


async def ignore(_: TurnEvent) -> None:
    """An emit for tests that look at no events."""


async def test_a_body_that_stops_coming_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_limit_stage, "BODY_DEADLINE_SECONDS", 0.05)

    async def reader(_scope: Scope, receive: Receive, _send: Send) -> None:
        while (await receive())["more_body"]:
            pass

    status, document = await call(request_id(problems(body_limit(reader))), b"{")

    assert (status, document["code"]) == (408, "body_timeout")


async def test_places_go_to_those_who_wait_in_their_order() -> None:
    admission = Admission(limit=1, queue_limit=10)
    release = asyncio.Event()
    order: list[int] = []

    def handler(number: int) -> Any:
        async def answer(_turn: Turn, _emit: Any) -> TurnResult:
            order.append(number)
            await release.wait()
            return RESULT

        return admission(answer)

    tasks = []
    for number in range(4):
        tasks.append(asyncio.create_task(handler(number)(turn(), ignore)))
        await asyncio.sleep(0)
    assert (admission.in_flight, admission.queued) == (1, 3)
    release.set()
    await asyncio.gather(*tasks)

    assert order == [0, 1, 2, 3]
    assert (admission.in_flight, admission.queued) == (0, 0)


async def order_of(*arrivals: tuple[str, int | None], leaving: str | None = None) -> list[str]:
    """The order in which those are answered, one at a time, who arrived in this one, with the priorities of batches."""
    admission = Admission(limit=1, queue_limit=len(arrivals))
    order: list[str] = []

    async def answer(answered: Turn, _emit: Any) -> TurnResult:
        order.append(str(answered.content))
        return RESULT

    await admission._enter(None)
    waiting = {
        name: asyncio.create_task(admission(answer)(turn(message=name, batch_priority=priority), ignore))
        for name, priority in arrivals
    }
    await asyncio.sleep(0)
    if leaving is not None:
        waiting[leaving].cancel()
    admission._leave()
    await asyncio.gather(*waiting.values(), return_exceptions=True)
    assert (admission.in_flight, admission.queued) == (0, 0)
    return order


async def test_the_batch_that_is_more_urgent_comes_before_other_batches() -> None:
    assert await order_of(("a", 1), ("b", 5), ("c", 10), ("d", 5), leaving="b") == ["c", "d", "a"]


async def test_no_batch_comes_before_a_single_request_that_was_there_before_it() -> None:
    assert await order_of(("a", None), ("b", 10), ("c", 5), ("d", None)) == ["a", "b", "c", "d"]


async def test_batches_use_each_others_places_and_nobody_elses() -> None:
    assert await order_of(("a", 5), ("b", None), ("c", 10), ("d", None), ("e", 6)) == ["c", "b", "e", "d", "a"]


async def test_batches_of_one_priority_keep_their_order() -> None:
    assert await order_of(("a", 5), ("b", 5), ("c", 10), ("d", 5), ("e", 10)) == ["c", "e", "a", "b", "d"]


async def test_a_batch_that_can_wait_lets_all_others_go_first() -> None:
    assert await order_of(("a", 1), ("b", None), ("c", 4), ("d", 5)) == ["b", "d", "c", "a"]


async def test_who_is_cancelled_while_passed_over_is_only_cancelled() -> None:
    admission = Admission(limit=1, queue_limit=10)

    async def answer(_turn: Turn, _emit: Any) -> TurnResult:
        return RESULT

    await admission._enter(None)
    waiting = asyncio.create_task(admission(answer)(turn(), ignore))
    await asyncio.sleep(0)
    waiting.cancel()
    admission._leave()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (admission.in_flight, admission.queued) == (0, 0)


async def test_who_gives_up_waiting_leaves_the_place_to_the_next() -> None:
    admission = Admission(limit=1, queue_limit=10)

    async def answer(_turn: Turn, _emit: Any) -> TurnResult:
        return RESULT

    await admission._enter(None)
    second, third = (asyncio.create_task(admission(answer)(turn(), ignore)) for _ in range(2))
    await asyncio.sleep(0)
    # The second is cancelled in the very moment in which it is given the place.
    admission._leave()
    second.cancel()

    async with asyncio.timeout(5):
        assert await third is RESULT
    assert second.cancelled()
    assert (admission.in_flight, admission.queued) == (0, 0)


async def test_nobody_waits_for_a_place_for_ever() -> None:
    admission = Admission(limit=1, queue_limit=10, queue_seconds=0.05)

    async def answer(_turn: Turn, _emit: Any) -> TurnResult:
        await asyncio.Event().wait()
        return RESULT

    stage = admission(answer)
    busy = asyncio.create_task(stage(turn(), ignore))
    await asyncio.sleep(0)
    with pytest.raises(ProblemError) as caught:
        await stage(turn(), ignore)
    busy.cancel()

    assert caught.value.kind is OVERLOADED
    assert caught.value.retry_after is not None
    assert admission.queued == 0


async def test_locks_of_conversations_are_forgotten_after_use() -> None:
    lock = ConversationLock(None, wait_seconds=0.05)

    async def answer(_turn: Turn, _emit: Any) -> TurnResult:
        await asyncio.sleep(0)
        return RESULT

    await asyncio.gather(*(lock(answer)(turn("a" * 32), ignore) for _ in range(3)))

    assert not lock._locks
    assert not lock._users


async def test_an_interruption_ends_the_block_with_its_reason_and_leaves_the_task_usable() -> None:
    interruption = Interruption()
    asyncio.get_running_loop().call_later(0.01, interruption.interrupt, ClientGoneError())

    with pytest.raises(ClientGoneError):
        async with interruption:
            await asyncio.Event().wait()

    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_a_cancellation_from_elsewhere_is_not_taken_for_an_interruption() -> None:
    async def work() -> None:
        async with Interruption():
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_turn_that_begins_when_all_have_been_ended_ends_at_once() -> None:
    turns = Turns()
    turns.end_all()

    with pytest.raises(ProblemError) as problem:
        async with turns.ended_with(None):
            raise AssertionError("it began")

    assert problem.value.kind is SHUTTING_DOWN


async def test_echo_respects_the_most_tokens_of_an_answer() -> None:
    from agent_runtime.agent.model import Completed, ModelRequest, TextDelta

    request = ModelRequest("", (Message("user", "one two three"),), max_tokens=3)
    events = [event async for event in EchoProvider().stream(request)]

    assert sum(isinstance(event, TextDelta) for event in events) == 3
    assert isinstance(events[-1], Completed)
    assert events[-1].stop_reason == "max_tokens"
