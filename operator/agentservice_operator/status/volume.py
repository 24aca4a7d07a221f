"""What a PersistentVolumeClaim says of itself, and what an AgentService says about it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentservice_operator.api.v1alpha1.conditions import Reason

_RESIZING = frozenset({"Resizing", "FileSystemResizePending"})


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """What is known of a claim; quantities as the API server writes them."""

    claim: str
    """Its name."""
    phase: str
    """Pending, Bound or Lost."""
    requested: str
    capacity: str | None
    """Of the volume, None until it is bound."""
    storage_class: str | None
    resizing: bool


def volume_facts(item: Mapping[str, Any]) -> VolumeFacts:
    """Project a PersistentVolumeClaim."""
    spec, status = item["spec"], item.get("status", {})
    conditions = status.get("conditions") or ()
    return VolumeFacts(
        claim=item["metadata"]["name"],
        phase=status.get("phase", "Pending"),
        requested=spec.get("resources", {}).get("requests", {}).get("storage", ""),
        capacity=status.get("capacity", {}).get("storage"),
        storage_class=spec.get("storageClassName"),
        resizing=any(entry.get("type") in _RESIZING and entry.get("status") == "True" for entry in conditions),
    )


def binding(namespace: str, volume: VolumeFacts) -> tuple[bool, Reason, str]:
    """Status, reason and message of the condition VolumeBound."""
    claim = f"PersistentVolumeClaim {volume.claim}"
    if volume.phase == "Bound":
        kind = f" of storage class {volume.storage_class}" if volume.storage_class else ""
        growing = f"; it grows to {volume.requested}" if volume.resizing else ""
        return True, Reason.BOUND, f"{claim} is bound to {volume.capacity or volume.requested}{kind}{growing}."
    if volume.phase == "Lost":
        remedy = "Restore the volume, or delete the claim, and with it the conversations, to get a new one."
        return False, Reason.VOLUME_LOST, f"The volume of {claim} is gone. {remedy}"
    remedy = f"if this lasts, see: kubectl -n {namespace} describe persistentvolumeclaim {volume.claim}"
    message = f"{claim} has no volume yet; many storage classes wait until the pod has a node; {remedy}"
    return False, Reason.VOLUME_PENDING, message
