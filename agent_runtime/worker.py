"""The worker process: runs the tasks of a service whose serving processes only take them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import structlog

from agent_runtime.beside import run_beside
from agent_runtime.config import RuntimeConfig
from agent_runtime.lifecycle import Lifecycle, Phase
from agent_runtime.observed import Observed
from agent_runtime.resources import open_resources
from agent_runtime.tasks.runner import open_runner
from agent_runtime.told import Told

_log = structlog.get_logger()


async def work_until_told(config: RuntimeConfig, *, loopback: bool, lifecycle: Lifecycle, observed: Observed) -> None:
    """Run tasks until SIGTERM or SIGINT, then let those that run finish; tell `observed` what is seen.

    What is not finished after ``drain_seconds``, or at a second signal, goes back to the queue.

    Args:
        config: of the service.
        loopback: whether the process is for this machine alone, so that tools may be on it.
        lifecycle: the phase of the process.
        observed: by the admin thread.

    Raises:
        ConfigurationError: the database cannot be used, or a tool can never work.
    """
    told = Told()
    async with AsyncExitStack() as stack:
        await run_beside(stack, lifecycle.beat())
        resources = await open_resources(config, stack, observed=observed, loopback=loopback)
        if told.first.is_set():
            return
        runner = await open_runner(resources, concurrency=config.tasks.concurrency)
        await run_beside(stack, runner.run())
        lifecycle.phase = Phase.SERVING
        _log.info("ready", agents=[agent.name for agent in config.agents])

        await told.first.wait()
        runner.leave()
        lifecycle.phase = Phase.DRAINING
        _log.info("draining", drain_seconds=config.drain_seconds, tasks=len(runner))
        finished = asyncio.create_task(runner.finish())
        patience = asyncio.create_task(told.again_within(config.drain_seconds))
        await asyncio.wait({finished, patience}, return_when=asyncio.FIRST_COMPLETED)
        for one in (finished, patience):
            one.cancel()
        if len(runner):
            _log.warning("tasks go back to the queue at the end of the drain", tasks=len(runner))
    _log.info("drained")
