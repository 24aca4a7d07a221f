"""What was used and asked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "model_calls",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("process", sa.String(32), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("principal", sa.String(253), nullable=False),
        sa.Column("agent", sa.String(63), nullable=False),
        sa.Column("model", sa.String(63), nullable=False),
        sa.Column("conversation_id", sa.String(32)),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.String(64)),
        sa.Column("is_exact", sa.Boolean, nullable=False),
        *_counts(),
    )
    op.create_index("model_calls_started_at", "model_calls", ["started_at"])
    op.create_index(
        "model_calls_open",
        "model_calls",
        ["process"],
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "interactions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("principal", sa.String(253), nullable=False),
        sa.Column("agent", sa.String(63), nullable=False),
        sa.Column("protocol", sa.String(32), nullable=False),
        sa.Column("route", sa.String(128), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("outcome", sa.String(64), nullable=False),
        sa.Column("conversation_id", sa.String(32)),
        sa.Column("model", sa.String(63)),
        sa.Column("message_length", sa.Integer),
        sa.Column("arrived_at", sa.BigInteger, nullable=False),
        sa.Column("milliseconds", sa.BigInteger, nullable=False),
        *_counts(),
    )
    op.create_index("interactions_arrived_at", "interactions", ["arrived_at"])


def _counts() -> list[sa.Column[int]]:
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "web_searches")
    counts = [sa.Column(name, sa.BigInteger, nullable=False) for name in names]
    return [*counts, sa.Column("cost_microdollars", sa.BigInteger)]
