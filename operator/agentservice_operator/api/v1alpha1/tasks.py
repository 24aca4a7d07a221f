"""How tasks are done."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from agentservice_operator.api.v1alpha1.base import ApiModel


class Tasks(ApiModel):
    """How tasks are done: turns that are asked for now and answered later."""

    workers: Annotated[int, Field(ge=0, le=100)] = 0
    """Pods of a second Deployment, NAME-worker, that do nothing but tasks. 0: the serving pods do them beside their
    requests. Workers need state.backend PostgreSQL and state.redis."""
    concurrency: Annotated[int, Field(ge=1, le=100)] = 10
    """Most tasks that one pod does at the same time."""
    timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] = 3600
    """How long a task may take from its start, without the time in which it awaits approval, before it has failed."""
    result_ttl_seconds: Annotated[int, Field(ge=60, le=2_592_000, alias="resultTTLSeconds")] = 86_400
    """A task is deleted so long after its end, and has failed when it has awaited an approval for so long."""
