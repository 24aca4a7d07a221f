"""The latest requests of an agent are looked at, however rare they are among those of others."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the index."""
    op.create_index("interactions_of_agent", "interactions", ["agent", "arrived_at"])
