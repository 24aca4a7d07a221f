"""Which database the configuration asks for."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path

from agent_runtime.config import RuntimeConfig
from agent_runtime.state.database import Database
from agent_runtime.state.sqlite import open_sqlite


async def open_database(config: RuntimeConfig) -> Database:
    """Open the database of the service, with the newest schema.

    Raises:
        ConfigurationError: it cannot be used; the message names it and the remedy.
    """
    if config.state.url_file is None:
        return await open_sqlite(Path(config.state.path or ""))
    # Imported where it is needed, and beside the loop, which goes on beating.
    module = await asyncio.to_thread(importlib.import_module, "agent_runtime.state.postgresql")
    database: Database = await module.open_postgresql(
        Path(config.state.url_file), trust_bundle_file=config.trust_bundle_file
    )
    return database
