"""Upgrades: new revisions that come from the operator, not from the author of the AgentService.

A new default image, or a new release that renders another pod template, changes the revision of every AgentService at
once. That is told from an edit by what the status has on record about the author's part, and who is being upgraded
stands in the condition UpgradePending; so a restarted operator, or another replica, goes on where the last one was.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, NamedTuple

from agentservice_operator.api.v1alpha1.conditions import ConditionType, Reason

Status = Mapping[str, Any]


class Inputs(NamedTuple):
    """The author's part in a revision."""

    generation: int
    """Of the spec."""
    references: str | None
    """Hash of the ConfigMap values that the spec refers to, None where it refers to none."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An upgrade that waits for its turn."""

    live: str
    """The revision that its pods stay at."""
    revision: str
    """The one that it will be upgraded to."""
    allowed: str
    """How many may be upgraded at a time, as the setting says it."""


class Pending(NamedTuple):
    """What the condition UpgradePending says where it is True."""

    reason: Reason
    message: str


def is_upgrade(status: Status, inputs: Inputs, *, live: AbstractSet[str], desired: str) -> bool:
    """Say whether the way from the live revisions, one per Deployment, to the desired one is the operator's own wish.

    A revision that was reached before, and that somebody turned back on the Deployment, is repaired, not upgraded.
    """
    reached = status.get("updateRevision") == desired and pending_reason(status) is None
    return live != {desired} and not reached and _unchanged(status, inputs)


def pending_reason(status: Status) -> str | None:
    """Why an upgrade is pending, None where there is none."""
    reason: str | None = _condition(status, ConditionType.UPGRADE_PENDING).get("reason")
    return reason


def waits(status: Status) -> bool:
    """Whether an upgrade waits for its turn."""
    return pending_reason(status) == Reason.WAITING_FOR_TURN


def waits_since(status: Status) -> str:
    """The time since when an upgrade is pending, in the API's form, which sorts by time."""
    return str(_condition(status, ConditionType.UPGRADE_PENDING).get("lastTransitionTime", ""))


def is_serving(status: Status) -> bool:
    """Whether the last look found it Ready."""
    return bool(_condition(status, ConditionType.READY).get("status") == "True")


def holds_slot(status: Status, live: AbstractSet[str]) -> bool:
    """Whether an AgentService counts as one that is being upgraded.

    One that was Ready before counts until it is Ready again, so a release that breaks agents stops at these few. One
    that was not is let go as soon as it is Stalled: its author's trouble must not stop the upgrade of all others.

    Args:
        status: as last written.
        live: the revisions of its Deployments.
    """
    revision = status.get("updateRevision")
    stalled = bool(_condition(status, ConditionType.STALLED))
    match pending_reason(status):
        case Reason.UPGRADING:
            return revision in live or not stalled  # a write that is refused breaks nothing
        case Reason.UPGRADING_WHILE_NOT_READY:
            return not stalled
        case _:  # A Deployment was written and its status was not: whoever did it was interrupted.
            return live != {revision} and not stalled and not _condition(status, ConditionType.PAUSED)


def pending(
    previous: Status, inputs: Inputs, *, desired: str | None, ready: bool, waiting: Waiting | None
) -> Pending | None:
    """What UpgradePending says next, None where no upgrade is pending.

    Args:
        previous: the status before.
        inputs: the author's part of today.
        desired: the revision that the Deployment was brought to, None where that is not known.
        ready: whether it is Ready.
        waiting: set where it has no turn yet.
    """
    if waiting is not None:
        message = (
            f"The operator would run it in another revision, {waiting.revision}, and upgrades {waiting.allowed} of all"
            " AgentServices at a time: it serves on as it is until its turn comes. An edit of its spec is rolled out at"
            " once."
        )
        return Pending(Reason.WAITING_FOR_TURN, message)
    if ready:
        return None
    reason = pending_reason(previous)
    if reason not in {Reason.UPGRADING, Reason.UPGRADING_WHILE_NOT_READY}:
        if desired is None or previous.get("updateRevision") in {None, desired} or not _unchanged(previous, inputs):
            return None
        reason = Reason.UPGRADING if is_serving(previous) else Reason.UPGRADING_WHILE_NOT_READY
    end = "Ready" if reason == Reason.UPGRADING else "Ready or Stalled"
    return Pending(
        Reason(reason), f"The operator upgrades it; the turn goes to another AgentService when this one is {end}."
    )


def applied_inputs(previous: Status, inputs: Inputs, *, live: AbstractSet[str], desired: str | None) -> dict[str, Any]:
    """The author's part in the revision that the Deployments are at, as the status records it."""
    if desired is None or live != {desired}:
        return {field: previous[field] for field in ("appliedGeneration", "appliedReferences") if field in previous}
    recorded: dict[str, Any] = {"appliedGeneration": inputs.generation}
    if inputs.references is not None:
        recorded["appliedReferences"] = inputs.references
    return recorded


def _unchanged(status: Status, inputs: Inputs) -> bool:
    return (status.get("appliedGeneration"), status.get("appliedReferences")) == inputs


def _condition(status: Status, kind: ConditionType) -> Mapping[str, Any]:
    return next((entry for entry in status.get("conditions") or () if entry["type"] == kind), {})
