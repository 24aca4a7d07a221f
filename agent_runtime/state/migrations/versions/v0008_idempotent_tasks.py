"""Tasks as answers to requests with a key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column."""
    op.add_column("idempotency_keys", sa.Column("task_id", sa.String(32), nullable=True))
