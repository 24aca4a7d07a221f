"""Conditions before they are put into a status."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from agentservice_operator.api.v1alpha1.conditions import ConditionType

_TIME = "%Y-%m-%dT%H:%M:%SZ"


class Wanted(NamedTuple):
    """A condition before it has a time."""

    type: ConditionType
    true: bool | None
    """None where nobody can say yet."""
    reason: str
    message: str


def condition(wanted: Wanted, previous: Mapping[str, Any] | None, generation: int, now: datetime) -> dict[str, Any]:
    """The condition as a status has it; its time is that of the last change of status.

    Args:
        wanted: What it says.
        previous: What it said before, if anything.
        generation: Of the spec that it is about.
        now: Aware.
    """
    status = {True: "True", False: "False", None: "Unknown"}[wanted.true]
    since = now.astimezone(UTC).strftime(_TIME)
    if previous is not None and previous.get("status") == status:
        since = previous["lastTransitionTime"]
    return {
        "type": str(wanted.type),
        "status": status,
        "reason": str(wanted.reason),
        "message": wanted.message,
        "observedGeneration": generation,
        "lastTransitionTime": since,
    }


def conditions_by_type(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The conditions of a status."""
    return {entry["type"]: entry for entry in status.get("conditions") or ()}
