"""What Schemathesis is told that no OpenAPI document can say; it loads this file by SCHEMATHESIS_HOOKS."""

from __future__ import annotations

import re
import uuid
from typing import Any

import schemathesis

from agent_runtime.pipeline.idempotency import IDEMPOTENCY_KEY


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: schemathesis.Case[Any], _kwargs: dict[str, Any]) -> None:
    """Give each request a key of its own in place of a valid one: a key is not to be used for two requests."""
    key = case.headers.get("Idempotency-Key")
    if key is not None and re.fullmatch(IDEMPOTENCY_KEY, key):
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
