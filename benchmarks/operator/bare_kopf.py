"""kopf with a handler that does nothing: what an event costs before an operator has done anything with it."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from agentservice_operator.engine.ports import Object
from agentservice_operator.kopf_app import Handlers, serve


async def main(namespace: str) -> None:
    """Watch the AgentServices of a namespace, with the operator's own settings of kopf, until ended."""

    async def nothing() -> None:
        """Start and stop with nothing."""

    def ignore(_: Object) -> None:
        """Forget it."""

    handlers = Handlers(start=nothing, stop=nothing, listed=ignore, changed=ignore, deleted=ignore)
    await serve(handlers, namespaces=[namespace], stop=asyncio.Event())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1]))
