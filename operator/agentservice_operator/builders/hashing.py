"""Digests of content: equal values give equal digests, whatever the order of their keys."""

from __future__ import annotations

import hashlib
import json
from typing import Any

DIGITS = 10
"""Hexadecimal digits that stand in names and annotations: 40 bits, plenty among the versions of one AgentService."""


def short_hash(value: Any) -> str:
    """The first 10 hexadecimal digits of the SHA-256 of a JSON value.

    Args:
        value: Anything that JSON can say.
    """
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:DIGITS]
