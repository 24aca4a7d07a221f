"""Retries on a clock that the test holds."""

from __future__ import annotations

import pytest
from agentservice_operator.engine.ports import Conflict, KubernetesError, Rejected
from agentservice_operator.kube.retry import with_retries


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Server:
    """Fails with each of ``errors`` in turn, then answers; every try takes ``seconds``."""

    def __init__(self, clock: Clock, *errors: KubernetesError, seconds: float = 0.0) -> None:
        self.clock = clock
        self.errors = list(errors)
        self.seconds = seconds
        self.tries = 0

    async def __call__(self) -> str:
        self.tries += 1
        self.clock.now += self.seconds
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


async def run(server: Server, spread: float = 1.0) -> str:
    return await with_retries(
        server, clock=server.clock, sleep=server.clock.sleep, spread=lambda low, high: min(max(spread, low), high)
    )


async def test_transient_error_is_tried_again_after_growing_delays() -> None:
    server = Server(Clock(), *(KubernetesError("x", status=status) for status in (500, 503, None)))

    assert await run(server) == "answer"
    assert server.clock.slept == [0.25, 0.5, 1.0]


async def test_fourth_failure_is_the_last() -> None:
    server = Server(Clock(), *(KubernetesError(str(number), status=500) for number in range(9)))

    with pytest.raises(KubernetesError, match="3"):
        await run(server)

    assert server.tries == 4


@pytest.mark.parametrize(
    "error", [Rejected("x", status=422), Conflict("x", status=409), KubernetesError("x", status=405)]
)
async def test_answer_to_act_on_is_not_tried_again(error: KubernetesError) -> None:
    server = Server(Clock(), error)

    with pytest.raises(KubernetesError) as raised:
        await run(server)

    assert raised.value is error
    assert server.tries == 1


async def test_server_is_given_the_time_it_asks_for() -> None:
    server = Server(Clock(), KubernetesError("slow down", status=429, retry_after=3.0))

    assert await run(server) == "answer"
    assert server.clock.slept == [3.25]


async def test_wait_that_is_too_long_is_left_to_the_caller() -> None:
    server = Server(Clock(), KubernetesError("slow down", status=429, retry_after=30.0))

    with pytest.raises(KubernetesError) as raised:
        await run(server)

    assert raised.value.retry_after == 30
    assert server.clock.slept == []


async def test_no_try_starts_after_the_budget() -> None:
    server = Server(Clock(), *(KubernetesError("timeout") for _ in range(9)), seconds=5.0)

    with pytest.raises(KubernetesError):
        await run(server)

    assert server.tries == 2


async def test_delays_are_spread_so_that_clients_do_not_come_back_together() -> None:
    early, late = (Server(Clock(), KubernetesError("x", status=500)) for _ in range(2))

    await run(early, spread=0.0)
    await run(late, spread=9.0)

    assert early.clock.slept == [0.125]
    assert late.clock.slept == [0.375]
