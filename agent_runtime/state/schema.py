"""The tables of the newest schema, of types that every engine has; migrations/ leads older databases to it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text, text

metadata = MetaData()

conversations = Table(
    "conversations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("principal", String(253), nullable=False),
    Column("agent", String(63), nullable=False),
    Column("updated_at", BigInteger, nullable=False, doc="milliseconds since 1970"),
    Column("bytes", BigInteger, nullable=False, doc="of the content of its messages"),
    Column("next_position", Integer, nullable=False, doc="of the next message; positions are never used again"),
    Index("conversations_updated_at", "updated_at"),
    Index("conversations_of_principal", "principal", "updated_at", "id"),
)

messages = Table(
    "messages",
    metadata,
    Column("conversation_id", String(32), ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("is_blocks", Boolean, nullable=False, doc="content is a JSON array of content blocks, not plain text"),
)

processes = Table(
    "processes",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("expires_at", BigInteger, nullable=False, doc="by the clock of the database; a process moves it on"),
)

conversation_leases = Table(
    "conversation_leases",
    metadata,
    Column("principal", String(253), primary_key=True),
    Column("conversation_id", String(32), primary_key=True),
    Column("process", String(32), nullable=False, doc="that answers in it; when that has expired, the lease is free"),
    Column("token", String(32), nullable=False, doc="of this one lease"),
)


def _counts() -> list[Column[int]]:
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "web_searches")
    counts = [Column(name, BigInteger, nullable=False) for name in names]
    return [*counts, Column("cost_microdollars", BigInteger, doc="absent: the model has no price")]


_is_open = text("outcome IS NULL")

model_calls = Table(
    "model_calls",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("process", String(32), nullable=False, doc="that makes it"),
    Column("request_id", String(128), nullable=False),
    Column("principal", String(253), nullable=False),
    Column("agent", String(63), nullable=False),
    Column("model", String(63), nullable=False, doc="the handle that agents use"),
    Column("conversation_id", String(32)),
    Column("started_at", BigInteger, nullable=False, doc="milliseconds since 1970"),
    Column("outcome", String(64), doc="absent while it goes on; unsettled: its process was gone before its end"),
    Column("is_exact", Boolean, nullable=False, doc="else what follows is the most that it can have been"),
    *_counts(),
    Index("model_calls_started_at", "started_at"),
    Index("model_calls_open", "process", sqlite_where=_is_open, postgresql_where=_is_open),
)

interactions = Table(
    "interactions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("request_id", String(128), nullable=False, doc="may be the caller's, who may use it twice"),
    Column("principal", String(253), nullable=False),
    Column("agent", String(63), nullable=False),
    Column("protocol", String(32), nullable=False),
    Column("route", String(128), nullable=False),
    Column("status", Integer),
    Column("outcome", String(64), nullable=False, doc="ok, client_closed, or the code of the problem"),
    Column("conversation_id", String(32)),
    Column("model", String(63), doc="the handle that agents use"),
    Column("message_length", Integer),
    Column("arrived_at", BigInteger, nullable=False, doc="milliseconds since 1970"),
    Column("milliseconds", BigInteger, nullable=False),
    *_counts(),
    Index("interactions_arrived_at", "arrived_at"),
    Index("interactions_of_agent", "agent", "arrived_at"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("principal", String(253), nullable=False),
    Column("status", String(16), nullable=False, doc="running, ended or interrupted"),
    Column("process", String(32), nullable=False, doc="that runs it, or ran it"),
    Column("created_at", BigInteger, nullable=False, doc="milliseconds since 1970"),
    Index("runs_principal_created_at", "principal", "created_at"),
)

run_events = Table(
    "run_events",
    metadata,
    Column("run_id", String(32), ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("last_id", Integer, primary_key=True, doc="of the events in this row"),
    Column("events", Text, nullable=False, doc="successive ones as they are sent"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal", String(253), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", String(64), nullable=False, doc="of the request"),
    Column("token", String(32), nullable=False, doc="of the request that holds or held the key"),
    Column("created_at", BigInteger, nullable=False, doc="milliseconds since 1970"),
    Column("process", String(32), nullable=True, doc="that answers it; null: it is answered"),
    Column("body", Text, nullable=True, doc="of the answer, if it is a document"),
    Column("run_id", String(32), nullable=True, doc="of the answer, if it is a stream"),
    Column("task_id", String(32), nullable=True, doc="of the answer, if it is a task"),
    Index("idempotency_keys_principal_created_at", "principal", "created_at"),
)

_number = BigInteger().with_variant(Integer, "sqlite")  # only an INTEGER counts up by itself there

tasks = Table(
    "tasks",
    metadata,
    Column("number", _number, primary_key=True, autoincrement=True, doc="in the order in which they were created"),
    Column("id", String(32), nullable=False, unique=True),
    Column("principal", String(253), nullable=False),
    Column("agent", String(63), nullable=False),
    Column("conversation_id", String(32), doc="where it is remembered; absent: nowhere"),
    Column("priority", Integer, nullable=False, doc="1 to 10; higher ones first"),
    Column("status", String(32), nullable=False),
    Column("created_at", BigInteger, nullable=False, doc="like all times: milliseconds since 1970"),
    Column("started_at", BigInteger, doc="when it was claimed for the first time"),
    Column("completed_at", BigInteger),
    Column("deadline_at", BigInteger, doc="set at the first claim; moved on by the time that approvals take"),
    Column("waits_since", BigInteger, doc="since when it awaits approval"),
    Column("epoch", Integer, nullable=False, doc="counts what ends a lease; a write of an earlier one is refused"),
    Column("lease_expires_at", BigInteger, doc="while running"),
    Column("lost", Integer, nullable=False, doc="leases that ran out since the last step that was saved"),
    Column("last_event", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False, doc="of its documents"),
    Column("input", Text, nullable=False, doc="JSON: what was asked"),
    Column("progress", Text, doc="JSON: how far the turn has come"),
    Column("result", Text, doc="JSON"),
    Column("error", Text, doc="JSON"),
    Index("tasks_queue", "status", "priority", "number"),
    Index("tasks_of_principal", "principal", "number"),
    Index("tasks_of_conversation", "conversation_id", "status"),
    Index("tasks_completed", "status", "completed_at"),
    sqlite_autoincrement=True,
)

task_events = Table(
    "task_events",
    metadata,
    Column("task", _number, ForeignKey("tasks.number", ondelete="CASCADE"), primary_key=True),
    Column("id", Integer, primary_key=True, autoincrement=False, doc="counts up from 1 in each task"),
    Column("type", String(32), nullable=False),
    Column("fields", Text, nullable=False, doc="JSON"),
)

task_approvals = Table(
    "task_approvals",
    metadata,
    Column("task", _number, ForeignKey("tasks.number", ondelete="CASCADE"), primary_key=True),
    Column("call", String(128), primary_key=True, doc="id of the tool call, as the model gave it"),
    Column("tool", String(128), nullable=False),
    Column("input", Text, nullable=False, doc="JSON"),
    Column("decision", String(16), doc="approve or deny; absent while it is awaited"),
    Column("decided_by", String(253)),
    Column("decided_at", BigInteger),
)

ANSWER_AGES = (runs.c.created_at, idempotency_keys.c.created_at)
"""Those of answers that are kept for callers who come back."""
AGES = {
    conversations: conversations.c.updated_at,
    model_calls: model_calls.c.started_at,
    interactions: interactions.c.arrived_at,
}
"""By which column a row is old; what is deleted with age has an `id`."""
