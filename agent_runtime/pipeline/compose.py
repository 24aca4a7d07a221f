"""The stages in their order. A new stage is one file and one line here.

The first half is pure ASGI and wraps the routes; a route turns the body of its protocol into a Turn, which is where
inputs are checked; the second half wraps the agent. Every protocol passes both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import reduce

from starlette.types import ASGIApp

from agent_runtime.api_keys import ApiKeys
from agent_runtime.lifecycle import Lifecycle
from agent_runtime.pipeline.admission import Admission
from agent_runtime.pipeline.body_limit import body_limit
from agent_runtime.pipeline.conversation_lock import ConversationLock
from agent_runtime.pipeline.cors import cors
from agent_runtime.pipeline.deadline import deadline
from agent_runtime.pipeline.identity import identity
from agent_runtime.pipeline.interruption import Turns
from agent_runtime.pipeline.lame_duck import lame_duck
from agent_runtime.pipeline.path_prefix import path_prefix
from agent_runtime.pipeline.problems import problems
from agent_runtime.pipeline.request_id import request_id
from agent_runtime.pipeline.statistics import Statistics
from agent_runtime.pipeline.telemetry import telemetry
from agent_runtime.pipeline.turn import Handler, Stage
from agent_runtime.state.usage import InteractionLog


def wrap_routes(
    routes: ASGIApp,
    *,
    keys: ApiKeys,
    open_paths: Collection[str],
    lifecycle: Lifecycle,
    interactions: InteractionLog,
    prefix: str | None,
    origins: Collection[str],
) -> ASGIApp:
    """`routes` behind everything that a request passes before its input is read."""
    stages: list[Callable[[ASGIApp], ASGIApp]] = [
        lame_duck(lifecycle),  # outside of what may answer by itself: every answer must close its connection
        *([cors(origins)] if origins else []),  # outside of what may refuse: pages are to read refusals, too
        *([path_prefix(prefix)] if prefix else []),
        request_id,
        telemetry(interactions),
        problems,
        body_limit,
        identity(keys, open_paths=open_paths),
    ]
    return reduce(lambda app, stage: stage(app), reversed(stages), routes)


def wrap_agent(
    agent: Handler,
    *,
    statistics: Statistics,
    turns: Turns,
    admission: Admission,
    conversations: ConversationLock,
    timeout_seconds: float,
) -> Handler:
    """`agent` behind everything that a turn passes after its input is read."""
    stages: list[Stage] = [
        statistics,
        turns.interruptible(),
        admission,
        conversations,
        deadline(timeout_seconds),
    ]
    return reduce(lambda handler, stage: stage(handler), reversed(stages), agent)


def wrap_task(agent: Handler, *, statistics: Statistics, conversations: ConversationLock) -> Handler:
    """`agent` behind what a task passes; its caller, its place and its time are the runner's."""
    return conversations(statistics(agent))
