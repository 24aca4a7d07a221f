"""Tasks in a database, for tests: made, claimed, looked at again, and grown old."""

from __future__ import annotations

from sqlalchemy import select, update

from agent_runtime.state.database import Database
from agent_runtime.state.schema import tasks as table
from agent_runtime.state.task import (
    Task,
    TaskInput,
)
from agent_runtime.state.task_leases import Lease, TaskLeases
from agent_runtime.state.tasks import SqlTasks

ASKED = TaskInput("What is it?", request_id="r1")
CALLS = [{"type": "tool_use", "id": "call1", "name": "pay", "input": {"usd": 5}}]


async def create(tasks: SqlTasks, principal: str = "demo", *, priority: int = 5, asked: TaskInput = ASKED) -> Task:
    return await tasks.create(principal, "main", asked, priority=priority)


async def claim(leases: TaskLeases) -> Lease:
    lease = await leases.claim()
    assert lease is not None
    return lease


async def again(tasks: SqlTasks, task: Task, principal: str = "demo") -> Task:
    found = await tasks.get(principal, task.id)
    assert found is not None
    return found


async def statuses(tasks: SqlTasks, task: Task) -> list[str]:
    events, _ = await tasks.events(task.id, after=0, limit=100)
    return [event.fields["status"] for event in events if event.type == "status"]


async def set_row(database: Database, task: Task, **values: int) -> None:
    """Let time pass for a task."""
    change = update(table).where(table.c.id == task.id).values(**values)
    await database.run(lambda connection: connection.execute(change))


async def room(database: Database, task: Task) -> int:
    """What a task takes, as the limit counts it."""
    size = select(table.c.bytes).where(table.c.id == task.id)
    taken: int = await database.run(lambda connection: connection.execute(size).scalar_one())
    return taken
