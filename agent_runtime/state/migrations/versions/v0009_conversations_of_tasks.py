"""The conversation of a task, by which those wait for each other that are of the same."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the column."""
    op.add_column("tasks", sa.Column("conversation_id", sa.String(32), nullable=True))
    op.create_index("tasks_of_conversation", "tasks", ["conversation_id", "status"])
