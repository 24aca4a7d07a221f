"""The conversations of a principal are listed in the order of their use."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the index."""
    op.create_index("conversations_of_principal", "conversations", ["principal", "updated_at", "id"])
