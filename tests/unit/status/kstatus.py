"""The judgement of kstatus, which kubectl, Flux, Helm 4 and Argo CD follow, as far as it concerns custom resources.

Source: the rules in sigs.k8s.io/cli-utils, pkg/kstatus (generic properties, then the Ready condition).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Judgement(StrEnum):
    """What kstatus says of an object."""

    TERMINATING = "Terminating"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    CURRENT = "Current"


def judge(item: dict[str, Any]) -> Judgement:
    """Judge a custom resource."""
    metadata, status = item["metadata"], item.get("status", {})
    if metadata.get("deletionTimestamp"):
        return Judgement.TERMINATING
    if "generation" in metadata and status.get("observedGeneration", metadata["generation"]) != metadata["generation"]:
        return Judgement.IN_PROGRESS
    for condition in status.get("conditions", ()):
        if condition["type"] == "Reconciling" and condition["status"] == "True":
            return Judgement.IN_PROGRESS
        if condition["type"] == "Stalled" and condition["status"] == "True":
            return Judgement.FAILED
    for condition in status.get("conditions", ()):
        if condition["type"] == "Ready":
            return Judgement.CURRENT if condition["status"] == "True" else Judgement.IN_PROGRESS
    return Judgement.CURRENT
