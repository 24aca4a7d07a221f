"""What a process needs to answer turns, whether it serves callers or runs tasks: opened in order, closed in reverse."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from agent_runtime.agent.model import Model
from agent_runtime.agent.providers import open_models
from agent_runtime.agent.tools import open_tools
from agent_runtime.agent.tools.tool import ToolSource
from agent_runtime.agent.turn import agent_handler
from agent_runtime.beside import run_beside
from agent_runtime.config import RuntimeConfig
from agent_runtime.cost import Prices, open_prices
from agent_runtime.observed import Observed
from agent_runtime.pipeline.conversation_lock import ConversationLock
from agent_runtime.pipeline.statistics import Statistics
from agent_runtime.pipeline.turn import Handler
from agent_runtime.state.conversation_leases import ConversationLeases
from agent_runtime.state.conversations import ConversationStore, SqlConversations
from agent_runtime.state.database import Database
from agent_runtime.state.engines import open_database
from agent_runtime.state.presence import Presence
from agent_runtime.state.retention import DAY_SECONDS, keep_for
from agent_runtime.state.schema import AGES
from agent_runtime.state.tasks import SqlTasks
from agent_runtime.state.usage import InteractionLog, SqlLedger, rows_within
from agent_runtime.state.write_behind import WriteBehind
from agent_runtime.tasks.bell import Bell, open_bell
from agent_runtime.tasks.upkeep import look_after

_TASKS_PART = 4
"""Of a database that has a limit, tasks get one part in so many; conversations make room, tasks are refused."""


@dataclass(frozen=True)
class Resources:
    """All of it, open."""

    config: RuntimeConfig
    database: Database
    presence: Presence
    conversations: SqlConversations
    lock: ConversationLock
    tasks: SqlTasks
    bell: Bell
    ledger: SqlLedger
    interactions: InteractionLog
    statistics: Statistics
    models: Mapping[str, Model]
    prices: Prices
    tools: Mapping[str, ToolSource]

    def agent(self, conversations: ConversationStore) -> Handler:
        """What answers turns of these conversations."""
        return agent_handler(
            self.models,
            self.prices,
            self.ledger,
            self.tools,
            conversations,
            max_history_tokens=self.config.max_history_tokens,
        )


async def open_resources(
    config: RuntimeConfig, stack: AsyncExitStack, *, observed: Observed, loopback: bool
) -> Resources:
    """Open what `config` names.

    Args:
        config: of the service.
        stack: closes it again.
        observed: is told of models and tasks.
        loopback: whether only this machine can ask us, so that tools may be on it.

    Raises:
        ConfigurationError: the database cannot be used, or a tool can never work.
    """
    database = await open_database(config)
    stack.push_async_callback(database.aclose)
    presence = Presence(database)
    stack.push_async_callback(presence.withdraw)
    await run_beside(stack, presence.keep())
    leases = ConversationLeases(database, presence) if database.shared else None
    if leases is not None:
        stack.push_async_callback(leases.aclose)
    max_bytes = config.state.max_bytes
    conversations = SqlConversations(database, leases=leases, max_bytes=max_bytes)
    await run_beside(stack, keep_for(config.state.retention_days * DAY_SECONDS, AGES.values(), database))
    tasks = SqlTasks(database, max_bytes=None if max_bytes is None else max_bytes // _TASKS_PART)
    await run_beside(stack, look_after(tasks, observed, ttl_seconds=config.tasks.result_ttl_seconds))
    bell = await open_bell(config, shared=database.shared)
    await run_beside(stack, bell.keep())
    rows = WriteBehind(database, max_rows=None if database.shared else rows_within(max_bytes))
    stack.push_async_callback(rows.aclose)
    await run_beside(stack, rows.write())
    models = await open_models(config)
    observed.models = models
    for model in models.values():
        stack.push_async_callback(model.provider.aclose)
    tools = await open_tools(config, loopback=loopback)
    for tool in tools.values():
        stack.push_async_callback(tool.aclose)
    prices = await open_prices(config)
    return Resources(
        config=config,
        database=database,
        presence=presence,
        conversations=conversations,
        lock=ConversationLock(leases),
        tasks=tasks,
        bell=bell,
        ledger=SqlLedger(rows, prices, process=presence.id),
        interactions=InteractionLog(rows),
        statistics=Statistics(agent.name for agent in config.agents),
        models=models,
        prices=prices,
        tools=tools,
    )
