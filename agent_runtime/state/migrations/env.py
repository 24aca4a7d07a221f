"""What alembic runs for each of its commands."""

from __future__ import annotations

from alembic import context

from agent_runtime.state.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
