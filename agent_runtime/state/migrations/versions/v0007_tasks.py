"""Tasks, what happened in them, and what they need approved."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "tasks",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("principal", sa.String(253), nullable=False),
        sa.Column("agent", sa.String(63), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.BigInteger),
        sa.Column("completed_at", sa.BigInteger),
        sa.Column("deadline_at", sa.BigInteger),
        sa.Column("waits_since", sa.BigInteger),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("lease_expires_at", sa.BigInteger),
        sa.Column("lost", sa.Integer, nullable=False),
        sa.Column("last_event", sa.Integer, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("progress", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("error", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("tasks_queue", "tasks", ["status", "priority", "number"])
    op.create_index("tasks_of_principal", "tasks", ["principal", "number"])
    op.create_index("tasks_completed", "tasks", ["status", "completed_at"])
    op.create_table(
        "task_events",
        sa.Column("task", _NUMBER, sa.ForeignKey("tasks.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("fields", sa.Text, nullable=False),
    )
    op.create_table(
        "task_approvals",
        sa.Column("task", _NUMBER, sa.ForeignKey("tasks.number", ondelete="CASCADE"), primary_key=True),
        sa.Column("call", sa.String(128), primary_key=True),
        sa.Column("tool", sa.String(128), nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("decision", sa.String(16)),
        sa.Column("decided_by", sa.String(253)),
        sa.Column("decided_at", sa.BigInteger),
    )
