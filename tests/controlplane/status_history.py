"""Every status that an AgentService had, as a watch saw it, and the rules that each of them must keep."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from agentservice_operator.api.v1alpha1.status import AgentServiceStatus

from tests.controlplane.agent_services import AgentServices, Object
from tests.unit.status.kstatus import Judgement, judge

WATCHED_FOR = 300.0
"""Seconds: longer than any test."""
_REASON = re.compile(r"^[A-Z][A-Za-z]+$")


@dataclass
class History:
    """States of one AgentService, oldest first."""

    states: list[Object] = field(default_factory=list)

    def judgements(self) -> list[Judgement]:
        """What kstatus said, one after the other, each as long as it lasted."""
        return [judgement for judgement, _ in groupby(judge(state) for state in self.states)]

    def reasons(self) -> set[str]:
        """The reasons of all conditions that ever were."""
        return {entry["reason"] for state in self.states for entry in state["status"].get("conditions", ())}

    def breaches(self) -> list[str]:
        """Where the rules on conditions are broken (checks API-1 and API-2)."""
        found = [f"{breach} in {state['status']}" for state in self.states for breach in _breaches(state)]
        return found + [
            f"{breach} from {before['status']} to {after['status']}"
            for before, after in pairwise(self.states)
            for breach in _moved(before, after)
        ]


@contextmanager
def recorded(services: AgentServices, name: str = "hello") -> Iterator[History]:
    """Record the states of an AgentService that is about to be made."""
    collection = services.path("AgentService", "")
    version = services.cluster.api.get(collection)["metadata"]["resourceVersion"]
    history = History()

    def follow() -> None:
        options = {"resourceVersion": version, "fieldSelector": f"metadata.name={name}"}
        for event in services.cluster.api.watch(collection, seconds=WATCHED_FOR, **options):
            if event["type"] == "DELETED":
                return
            history.states.append(event["object"])

    follower = threading.Thread(target=follow, name=f"watch of {name}", daemon=True)
    follower.start()
    yield history
    services.delete(name)
    follower.join(timeout=30)
    assert not follower.is_alive(), "the watch has not seen the deletion"


def _breaches(state: Object) -> Iterator[str]:
    status = state["status"]
    AgentServiceStatus.model_validate(status)
    if status == {"observedGeneration": -1}:
        return
    if "phase" in status:
        yield "a phase"
    for entry in status["conditions"]:
        if not _REASON.match(entry["reason"]) or not entry["message"]:
            yield f"{entry['type']} without a reason or a sentence"
        if entry["observedGeneration"] != max(0, status["observedGeneration"]):
            yield f"{entry['type']} is about another generation"
    is_so = {entry["type"]: entry["status"] for entry in status["conditions"]}
    if len(is_so) != len(status["conditions"]):
        yield "two conditions of one type"
    judged = tuple(is_so.get(kind) for kind in ("Ready", "Reconciling", "Stalled"))
    if judged not in {("True", None, None), ("False", "True", None), ("False", None, "True")}:
        yield "Ready, Reconciling and Stalled do not fit together, or are not removed"


def _moved(before: Object, after: Object) -> Iterator[str]:
    earlier = {entry["type"]: entry for entry in before["status"].get("conditions", ())}
    for entry in after["status"].get("conditions", ()):
        known = earlier.get(entry["type"])
        if known is None:
            continue
        if known["status"] == entry["status"] and known["lastTransitionTime"] != entry["lastTransitionTime"]:
            yield f"{entry['type']} has another time and the same status"
        if known["lastTransitionTime"] > entry["lastTransitionTime"]:
            yield f"{entry['type']} goes back in time"
