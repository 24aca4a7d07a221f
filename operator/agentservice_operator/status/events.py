"""What happened to an AgentService, in the words of ``kubectl describe``: pure, from two statuses or from one write.

Only changes are told. A resync or a restart that finds everything as it was tells nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from agentservice_operator.api.v1alpha1.conditions import ConditionType, Reason

_MOVES_BY_ITSELF = frozenset({Reason.PROGRESSING, Reason.ROLLING_OUT, Reason.WAITING_FOR_DELETION})
_SAYS_ALL = frozenset({Reason.REFERENCE_NOT_FOUND, Reason.INVALID_SPEC, Reason.NAME_CONFLICT, Reason.CHILD_REJECTED})
"""Their messages name what is wrong and no pod: another message is other news. Pods change their names all the time."""


class EventType(StrEnum):
    """The two types that Kubernetes knows."""

    NORMAL = "Normal"
    WARNING = "Warning"


class EventReason(StrEnum):
    """Reasons of Events; further ones are those of the Ready condition, when they come up."""

    ROLLOUT_STARTED = "RolloutStarted"
    ROLLOUT_FINISHED = "RolloutFinished"
    STALLED = "Stalled"
    RESUMED = "Resumed"
    CHILD_RECREATED = "ChildRecreated"
    CHILD_REPAIRED = "ChildRepaired"
    CHILD_ADOPTED = "ChildAdopted"
    API_KEY_CREATED = "APIKeyCreated"
    API_KEY_REPLACED = "APIKeyReplaced"
    API_KEY_ROTATED = "APIKeyRotated"


class Related(NamedTuple):
    """The child that it is about."""

    api_version: str
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One thing that happened."""

    type: EventType
    reason: str
    note: str
    related: Related | None = None
    revision: str | None = None
    """Where the note names pods: notes of one reason and revision say the same."""

    @property
    def alike(self) -> tuple[str, ...]:
        """What happens again and again has this in common, and is one series."""
        return (self.type, self.reason, self.note if self.revision is None else self.revision)


def changes(previous: Mapping[str, Any], status: Mapping[str, Any]) -> list[Occurrence]:
    """Tell what a person wants to know of the way from one status to the next."""
    found: list[Occurrence] = []
    revision = str(status.get("updateRevision", ""))
    started = bool(revision) and revision != previous.get("updateRevision")
    if started:
        found.append(Occurrence(EventType.NORMAL, EventReason.ROLLOUT_STARTED, f"Rolling out revision {revision}."))
    finished = status.get("currentRevision") != previous.get("currentRevision")
    found += _readiness(previous, status, started=started, finished=finished)
    told = {each.reason for each in found}
    stalled = _condition(status, ConditionType.STALLED)
    if stalled and not _condition(previous, ConditionType.STALLED) and stalled["reason"] not in told:
        note = f"Nothing moves any more without a person: {stalled['message']}"
        found.append(Occurrence(EventType.WARNING, EventReason.STALLED, note))
    return found + _pauses(previous, status) + _models(previous, status)


def child_recreated(child: Related) -> Occurrence:
    """It was lost, and nothing else had changed."""
    note = f"{child.kind} {child.name} was gone and has been made again."
    return Occurrence(EventType.WARNING, EventReason.CHILD_RECREATED, note, child)


def child_repaired(child: Related) -> Occurrence:
    """Somebody had changed what is ours in it."""
    note = f"{child.kind} {child.name} had been changed and has been brought back to what the spec says."
    return Occurrence(EventType.WARNING, EventReason.CHILD_REPAIRED, note, child)


def child_adopted(child: Related) -> Occurrence:
    """It was there without an owner, as after ``--cascade=orphan``."""
    note = f"{child.kind} {child.name} was there without an owner and belongs to this AgentService now."
    return Occurrence(EventType.NORMAL, EventReason.CHILD_ADOPTED, note, child)


def api_key_created(secret: Related) -> Occurrence:
    """The first key."""
    note = f"Secret {secret.name} has been made, with a new API key."
    return Occurrence(EventType.NORMAL, EventReason.API_KEY_CREATED, note, secret)


def api_key_replaced(secret: Related) -> Occurrence:
    """The Secret was lost: the key that callers have is worth nothing now."""
    note = f"Secret {secret.name} was gone and has been made again, with another API key: callers need it."
    return Occurrence(EventType.WARNING, EventReason.API_KEY_REPLACED, note, secret)


def api_key_rotated(secret: Related) -> Occurrence:
    """As the spec asked for."""
    note = f"Secret {secret.name} has a new API key; the previous one stays valid until the next rotation."
    return Occurrence(EventType.NORMAL, EventReason.API_KEY_ROTATED, note, secret)


def _readiness(
    previous: Mapping[str, Any], status: Mapping[str, Any], *, started: bool, finished: bool
) -> list[Occurrence]:
    before, now = _condition(previous, ConditionType.READY), _condition(status, ConditionType.READY)
    reason, message = now["reason"], now["message"]
    revision = None if reason in _SAYS_ALL else str(status.get("updateRevision", ""))
    changed = (before.get("status"), before.get("reason")) != (now["status"], reason)
    if now["status"] == "True":
        if finished:
            return [Occurrence(EventType.NORMAL, EventReason.ROLLOUT_FINISHED, message)]
        return [Occurrence(EventType.NORMAL, reason, message, revision=revision)] if changed else []
    if not changed and not (reason in _SAYS_ALL and before.get("message") != message):
        return []
    if _condition(status, ConditionType.PAUSED):
        return []
    if reason in _MOVES_BY_ITSELF:
        lost = before.get("status") == "True" and not started
        return [Occurrence(EventType.NORMAL, reason, message, revision=revision)] if lost else []
    return [Occurrence(EventType.WARNING, reason, message, revision=revision)]


def _pauses(previous: Mapping[str, Any], status: Mapping[str, Any]) -> list[Occurrence]:
    before, now = _condition(previous, ConditionType.PAUSED), _condition(status, ConditionType.PAUSED)
    if now and now["reason"] != before.get("reason"):
        return [Occurrence(EventType.NORMAL, now["reason"], now["message"])]
    if before and not now:
        return [Occurrence(EventType.NORMAL, EventReason.RESUMED, "The operator keeps the children again.")]
    return []


def _models(previous: Mapping[str, Any], status: Mapping[str, Any]) -> list[Occurrence]:
    """What the pods learn from their calls: that a provider refuses them, answers again, or gives a model up."""
    found = []
    for kind in (ConditionType.PROVIDER_HEALTHY, ConditionType.MODEL_RETIRING):
        before, now = _condition(previous, kind), _condition(status, kind)
        well = kind is ConditionType.PROVIDER_HEALTHY and now.get("status") == "True"
        if now and now["reason"] != before.get("reason") and (before or not well):
            found.append(Occurrence(EventType.NORMAL if well else EventType.WARNING, now["reason"], now["message"]))
    return found


def _condition(status: Mapping[str, Any], kind: ConditionType) -> Mapping[str, Any]:
    return next((entry for entry in status.get("conditions") or () if entry["type"] == kind), {})
