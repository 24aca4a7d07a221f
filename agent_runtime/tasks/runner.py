"""Runs tasks: claims them, holds their leases by heartbeats, and writes down what comes of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from http import HTTPStatus
from typing import Any

import structlog
from sqlalchemy import Connection

from agent_runtime.agent.model import Message
from agent_runtime.api.errors import (
    AGENT_NOT_FOUND,
    CONVERSATION_BUSY,
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    STATE_UNAVAILABLE,
    ProblemError,
)
from agent_runtime.cost import usd
from agent_runtime.pipeline.compose import wrap_task
from agent_runtime.pipeline.context import CLIENT_CLOSED_REQUEST, RequestContext
from agent_runtime.pipeline.telemetry import measure
from agent_runtime.pipeline.turn import (
    ApprovalNeeded,
    Emit,
    Handler,
    Progress,
    ToolCall,
    ToolResult,
    Turn,
    TurnEvent,
    TurnResult,
)
from agent_runtime.resources import Resources
from agent_runtime.state.conversations import Messages, SqlConversations
from agent_runtime.state.database import StateUnavailableError
from agent_runtime.state.task import error_of, failure
from agent_runtime.state.task_leases import Lease, LeaseLostError, TaskLeases
from agent_runtime.tasks.bell import LEASES, QUEUE, heard_within

PROTOCOL = "tasks"
"""Label of tasks in the metrics."""
ROUTE = "/v1/tasks"
HEARTBEATS_PER_LEASE = 3
PAUSE_SECONDS = 1.0
"""Before what another turn, or trouble of the database, stands in the way of is tried again."""
_ENDINGS = {
    "ok": HTTPStatus.OK,
    "awaiting_approval": HTTPStatus.ACCEPTED,
    "handed_back": HTTPStatus.ACCEPTED,
    "lease_lost": CLIENT_CLOSED_REQUEST,
    "state_unavailable": STATE_UNAVAILABLE.status,
}
"""As what they count in the metrics; the codes of problems count as those do."""

_log = structlog.get_logger()


async def open_runner(resources: Resources, *, concurrency: int) -> TaskRunner:
    """What runs the tasks of the service in this process; see TaskRunner."""
    settings = resources.config.tasks
    leases = TaskLeases(
        resources.database, lease_seconds=settings.lease_seconds, timeout_seconds=settings.timeout_seconds
    )
    if not resources.database.shared:
        await leases.take_back_all()  # whoever held them was this process in an earlier life
    return TaskRunner(resources, leases, lease_seconds=settings.lease_seconds, concurrency=concurrency)


class TaskRunner:
    """Runs tasks of one service, some at a time.

    Args:
        resources: of the service.
        leases: of the tasks.
        lease_seconds: how long a lease is good.
        concurrency: most tasks at a time; 0: none, others run them.
    """

    def __init__(self, resources: Resources, leases: TaskLeases, *, lease_seconds: float, concurrency: int) -> None:
        self._resources = resources
        self._agents = {agent.name: agent for agent in resources.config.agents}
        self._leases = leases
        self._lease_seconds = lease_seconds
        self._heartbeat_seconds = lease_seconds / HEARTBEATS_PER_LEASE
        self._bell = resources.bell
        self._concurrency = concurrency
        self._running: dict[Lease, asyncio.Task[None]] = {}
        self._renewed_at: dict[Lease, float] = {}
        self._lost: set[Lease] = set()
        self._leaving = False

    def __len__(self) -> int:
        """How many run."""
        return len(self._running)

    async def run(self) -> None:
        """Claim and run tasks until cancelled; those that run then go back to the queue, with what they have saved."""
        heartbeat = asyncio.create_task(self._keep_leases())
        try:
            with self._bell.listening(QUEUE) as heard:
                while True:
                    lease = await self._claim()
                    if lease is None:
                        # Nobody tells that the lease of a process that is gone has run out.
                        await heard_within(heard, min(self._bell.pause, self._heartbeat_seconds))
                    else:
                        self._start(lease)
        finally:
            self._leaving = True
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            heartbeat.cancel()

    def leave(self) -> None:
        """Claim nothing more."""
        self._leaving = True

    async def finish(self) -> None:
        """Claim nothing more, and return when what runs has ended."""
        self.leave()
        while self._running:
            await asyncio.wait(self._running.values())

    async def _claim(self) -> Lease | None:
        if self._leaving or len(self._running) >= self._concurrency:
            return None
        claiming = asyncio.create_task(self._leases.claim())
        try:
            lease = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # What was claimed meanwhile would wait for the end of a lease that nobody holds.
            with suppress(StateUnavailableError):
                if (lease := await claiming) is not None:
                    await self._hand_back(lease)
            raise
        except StateUnavailableError:  # it has been logged, and the next look comes
            return None
        except Exception:  # noqa: BLE001 - a fault of ours with one task must not end all others, of all callers
            _log.exception("a task cannot be claimed")
            await asyncio.sleep(PAUSE_SECONDS)
            return None
        if lease is not None and self._leaving:
            await self._hand_back(lease)
            return None
        return lease

    def _start(self, lease: Lease) -> None:
        task = asyncio.create_task(self._hold(lease))
        self._running[lease] = task
        self._renewed_at[lease] = time.monotonic()
        self._bell.ring(lease.task_id)

        def ended(_: asyncio.Task[None]) -> None:
            del self._running[lease]
            self._renewed_at.pop(lease, None)
            self._lost.discard(lease)
            self._bell.ring(lease.task_id)
            self._bell.ring(QUEUE)  # there is a place, or the task is there again

        task.add_done_callback(ended)

    async def _keep_leases(self) -> None:
        with self._bell.listening(LEASES) as heard:
            while True:
                await heard_within(heard, self._heartbeat_seconds)
                held = list(self._renewed_at)
                began = time.monotonic()
                try:
                    lost = await self._leases.renew(held)
                    self._renewed_at.update((lease, began) for lease in held if lease in self._renewed_at)
                except Exception as error:  # noqa: BLE001 - without the next beat every task that runs would be lost
                    if not isinstance(error, StateUnavailableError):  # which has been logged
                        _log.exception("leases cannot be renewed")
                    # Whose lease has run out may be another's by now.
                    lost = {lease for lease in held if began - self._renewed_at.get(lease, began) > self._lease_seconds}
                for lease in lost & self._renewed_at.keys():
                    self._lost.add(lease)
                    self._running[lease].cancel()

    async def _hold(self, lease: Lease) -> None:
        asked = lease.input
        context = RequestContext(asked.request_id, principal=lease.principal, protocol=PROTOCOL, agent=lease.agent)
        context.route, context.conversation_id = ROUTE, asked.conversation_id
        with structlog.contextvars.bound_contextvars(request_id=asked.request_id, task_id=lease.task_id):
            try:
                await self._run(lease, context)
            except LeaseLostError:
                context.outcome = "lease_lost"
            except StateUnavailableError:
                context.outcome = await self._hand_back(lease)
            except asyncio.CancelledError:
                context.outcome = "lease_lost" if lease in self._lost else await self._hand_back(lease)
            context.status = context.status or _ENDINGS[context.outcome]
            measure(context)
            self._resources.interactions.note(context)
            _log.info("task", agent=lease.agent, outcome=context.outcome, seconds=round(context.elapsed(), 6))

    async def _run(self, lease: Lease, context: RequestContext) -> None:
        """Answer the task and write down the outcome, in `context` too."""
        try:
            await self._in_time(lease, context)
        except (LeaseLostError, StateUnavailableError):
            raise
        except ProblemError as problem:
            if problem.kind is STATE_UNAVAILABLE:
                raise StateUnavailableError(problem.detail) from None
            await self._fail(lease, context, problem.kind.status, error_of(problem))
        except Exception:  # noqa: BLE001 - the border of the task: whatever failed, its caller learns that it did
            _log.exception("unexpected failure")
            error = failure(INTERNAL_ERROR, "The log of the runtime has the reason under this task's id.")
            await self._fail(lease, context, INTERNAL_ERROR.status, error)

    async def _in_time(self, lease: Lease, context: RequestContext) -> None:
        """Answer the task, or let people decide first, within the time that is left for it."""
        limit = asyncio.timeout(lease.seconds_left)
        try:
            async with limit:
                try:
                    await self._answer(lease, context)
                except ApprovalNeeded as needed:
                    self._let_go(lease)
                    await self._leases.await_approval(lease, needed.progress.dumps(), needed.calls)
                    context.outcome = "awaiting_approval"
        except TimeoutError:
            if not limit.expired():
                raise
            detail = "It was not done within its time (tasks.timeoutSeconds)."
            raise ProblemError(DEADLINE_EXCEEDED, detail) from None

    async def _fail(self, lease: Lease, context: RequestContext, status: int, error: dict[str, Any]) -> None:
        self._let_go(lease)
        await self._leases.fail(lease, error)
        context.fail(status, str(error["code"]))

    async def _answer(self, lease: Lease, context: RequestContext) -> None:
        """Answer the task and write down the answer, as long as nobody else answers in its conversation."""
        agent = self._agents.get(lease.agent)
        if agent is None:
            raise ProblemError(AGENT_NOT_FOUND, f"The service has no agent {lease.agent} any more.")
        asked = lease.input

        async def save(progress: Progress) -> None:
            await self._leases.save(lease, progress.dumps())

        async def emit(event: TurnEvent) -> None:
            if isinstance(event, ToolCall | ToolResult):
                kind = "tool_call" if isinstance(event, ToolCall) else "tool_result"
                await self._leases.tell(lease, kind, asdict(event))
                self._bell.ring(lease.task_id)

        turn = Turn(
            context=context,
            departure=None,
            principal=lease.principal,
            agent=agent,
            content=asked.content,
            conversation_id=asked.conversation_id,
            store=asked.conversation_id is not None,
            output_schema=asked.output_schema,
            progress=_progress(lease),
            save=save,
        )

        async def answer(turn: Turn, emit: Emit) -> TurnResult:
            conversations = self._resources.conversations
            remembered = _Remembered(conversations, begins=asked.begins)
            result = await self._resources.agent(remembered)(turn, emit)
            self._let_go(lease)
            added = await self._leases.complete(lease, _document(result), also=remembered.additions)
            with suppress(StateUnavailableError):  # it has been logged, and the next addition makes room
                await conversations.make_room(sum(added))
            return result

        handler = wrap_task(answer, statistics=self._resources.statistics, conversations=self._resources.lock)
        await self._once_free(handler, turn, emit)

    async def _once_free(self, handler: Handler, turn: Turn, emit: Emit) -> None:
        """Answer a turn when the other answers in its conversation are complete."""
        while True:
            try:
                await handler(turn, emit)
            except ProblemError as problem:
                if problem.kind is not CONVERSATION_BUSY:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return

    def _let_go(self, lease: Lease) -> None:
        """Renew a lease no more, since what is written next ends it: that it has ended is then no loss."""
        self._renewed_at.pop(lease, None)

    async def _hand_back(self, lease: Lease) -> str:
        self._let_go(lease)
        while True:
            try:
                await self._leases.hand_back(lease)
            except LeaseLostError:
                return "lease_lost"
            except StateUnavailableError:
                if self._leaving:
                    return "state_unavailable"  # its lease will run out
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return "handed_back"


class _Remembered:
    """The conversation of one task: read as it is, written only together with the end of the task.

    So a process that has lost its lease writes nothing to it, and one that goes on with the task writes nothing twice.
    """

    def __init__(self, conversations: SqlConversations, *, begins: bool) -> None:
        self._conversations = conversations
        self._begins = begins
        self.additions: list[Callable[[Connection], int]] = []

    async def load(self, principal: str, agent: str, conversation_id: str) -> Messages | None:
        """See ConversationStore.load."""
        return () if self._begins else await self._conversations.load(principal, agent, conversation_id)

    async def append(self, principal: str, agent: str, conversation_id: str, *messages: Message) -> None:
        """See ConversationStore.append."""
        self.additions.append(self._conversations.addition(principal, agent, conversation_id, *messages))


def _progress(lease: Lease) -> Progress | None:
    if lease.progress is None:
        return None
    return replace(Progress.loads(lease.progress), decisions=lease.decisions)


def _document(result: TurnResult) -> dict[str, Any]:
    return {
        "message": result.text,
        "tool_calls": [asdict(call) for call in result.tool_calls],
        "sources": [asdict(source) for source in result.sources],
        "stop_reason": result.stop_reason,
        "model": result.model,
        "cost_usd": usd(result.cost_microdollars),
        "usage": result.usage.document(),
    }
