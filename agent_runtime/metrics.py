"""The metrics. Names and labels are a contract: alerts, dashboards and autoscalers use them.

Labels are bounded by the configuration and the code: never a principal, key, conversation or raw path.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# One more series beside each counter, which nothing reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # not annotated there

_REQUEST_BUCKETS = (0.005, 0.02, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
_FIRST_TOKEN_BUCKETS = (0.005, 0.02, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)

REQUESTS = Counter("agent_requests_total", "Requests that were answered", ("agent", "protocol", "route", "status"))
REQUEST_DURATION = Histogram(
    "agent_request_duration_seconds",
    "Time of a request that reached an agent, from its first byte to the last of its answer",
    ("agent", "protocol"),
    buckets=_REQUEST_BUCKETS,
)
TIME_TO_FIRST_TOKEN = Histogram(
    "agent_time_to_first_token_seconds",
    "Time from the start of a model call to the first block of its answer",
    ("agent", "model"),
    buckets=_FIRST_TOKEN_BUCKETS,
)
IN_FLIGHT = Gauge("agent_requests_in_flight", "Requests that are being answered by an agent")
QUEUED = Gauge("agent_requests_queued", "Requests that wait for a free place")
CONCURRENCY_LIMIT = Gauge("agent_concurrency_limit", "Most requests that agents answer at once")
TOKENS = Counter("agent_tokens_total", "Tokens that the provider counted", ("agent", "model", "kind"))
COST = Counter("agent_cost_usd_total", "Cost of model calls whose model has a price", ("agent", "model"))
MODEL_CALLS = Counter("agent_model_calls_total", "Tries of model calls by how they ended", ("model", "outcome"))
TOOL_CALLS = Counter("agent_tool_calls_total", "Calls of tools by how they ended", ("agent", "tool", "outcome"))
TOOL_DURATION = Histogram(
    "agent_tool_duration_seconds", "Time of a call of a tool", ("agent", "tool", "outcome"), buckets=_REQUEST_BUCKETS
)
TASKS = Gauge("agent_tasks", "Tasks in the database, which every process that uses it counts", ("status",))
MCP_SERVER_UP = Gauge("agent_mcp_server_up", "1 if an MCP server listed its tools when it was last asked", ("tool",))
BUILD_INFO = Gauge("agent_build_info", "Always 1; the version of the runtime", ("version",))
CONFIG_REVISION = Gauge("agent_config_revision", "Always 1; the pod template that this process runs", ("revision",))
