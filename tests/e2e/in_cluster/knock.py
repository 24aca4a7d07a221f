"""Tries at TCP addresses, side by side, each about once a second: one JSON line per try, until the pod is deleted."""

from __future__ import annotations

import asyncio
import json
import sys

PATIENCE = 2.0
"""Seconds; what is not allowed is dropped, so nothing says no."""


async def main() -> None:
    """Try until killed."""
    async with asyncio.TaskGroup() as group:
        for address in sys.argv[1:]:
            group.create_task(knock(address))


async def knock(address: str) -> None:
    """Connect to one address again and again."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            async with asyncio.timeout(PATIENCE):
                _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            reached = True
        except (TimeoutError, OSError):
            reached = False
        sys.stdout.write(json.dumps({"address": address, "reached": reached}) + "\n")
        sys.stdout.flush()
        await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main())
