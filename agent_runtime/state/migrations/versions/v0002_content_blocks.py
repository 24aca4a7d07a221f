"""Messages may be of content blocks, not only of text."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Let the column of the text hold either; what is there is text."""
    op.alter_column("messages", "text", new_column_name="content")
    op.add_column("messages", sa.Column("is_blocks", sa.Boolean, nullable=False, server_default=sa.false()))
