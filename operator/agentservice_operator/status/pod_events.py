"""What the kubelet tells of a pod only in Events: volumes that cannot be mounted, probes that fail.

Its sentences are read, never repeated: names of objects, a status code and a few known causes are picked out of them.
Whatever else they hold, such as an answer's body or a path on the node, goes nowhere.

Source of the sentences: pkg/kubelet/prober, pkg/volume/{secret,configmap}, pkg/volume/util/operationexecutor of
Kubernetes 1.34.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentservice_operator.api.v1alpha1.conditions import Reason

MOUNTING = frozenset({"FailedMount", "FailedAttachVolume"})
PROBING = "Unhealthy"
_MOUNTED = frozenset({"Pulling", "Pulled", "Created", "Started"})
"""An image is pulled only once every volume is there."""

_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_VOLUME = re.compile(rf'for volume "(?P<name>{_NAME})"')
_OBJECT = re.compile(rf'\b(?P<kind>secret|configmap|persistentvolumeclaim) "(?P<name>{_NAME})" not found')
_KEY = re.compile(r"references non-existent (?P<kind>secret|config) key: (?P<key>[-._a-zA-Z0-9]{1,253})$")
_PROBE = re.compile(r"^(?P<probe>Startup|Readiness|Liveness) probe (?:failed|errored)")
_STATUS = re.compile(r"HTTP probe failed with statuscode: (?P<code>[1-5]\d\d)$")
_KINDS = {"secret": "Secret", "configmap": "ConfigMap", "persistentvolumeclaim": "PersistentVolumeClaim"}
_CAUSES = {
    "connection refused": "nothing listens on its port",
    "Client.Timeout": "no answer came in time",
    "deadline exceeded": "no answer came in time",
    "i/o timeout": "no answer came in time",
}


@dataclass(frozen=True, slots=True)
class Hint:
    """What the latest Event of a pod says is wrong with it."""

    reason: Reason
    sentence: str
    starting: bool = False
    """A startup probe fails a few times before every start that goes well."""


def hint(events: Iterable[Mapping[str, Any]], since: str) -> Hint | None:
    """Read the latest trouble out of the Events of one pod.

    Args:
        events: events.k8s.io/v1, in any order.
        since: when the pod was last seen to become not ready; what is older is over.
    """
    told = sorted((event for event in events if last_seen(event) >= since), key=last_seen)
    for event in reversed(told):
        reason, note = event.get("reason"), str(event.get("note", ""))
        if reason in _MOUNTED:
            told = [each for each in told if each.get("reason") == PROBING]
            return _probe(str(told[-1].get("note", ""))) if told else None
        if reason in MOUNTING:
            return _mount(note)
        if reason == PROBING:
            return _probe(note)
    return None


def last_seen(event: Mapping[str, Any]) -> str:
    """When an Event last came, in RFC 3339 to the second: kubelets and newer reporters note it in different places."""
    series = event.get("series") or {}
    moment = series.get("lastObservedTime") or event.get("deprecatedLastTimestamp") or event.get("eventTime") or ""
    return f"{moment[:19]}Z" if moment else ""


def _mount(note: str) -> Hint:
    volume = _VOLUME.search(note)
    place = f"its volume {volume['name']}" if volume else "one of its volumes"
    if missing := _OBJECT.search(note):
        kind, name = _KINDS[missing["kind"]], missing["name"]
        return Hint(Reason.REFERENCE_NOT_FOUND, f"cannot mount {place}: {kind} {name} does not exist. Create it.")
    if missing := _KEY.search(note):
        kind = "Secret" if missing["kind"] == "secret" else "ConfigMap"
        sentence = f"cannot mount {place}: the {kind} has no key {missing['key']}. Add it, or correct the reference."
        return Hint(Reason.REFERENCE_NOT_FOUND, sentence)
    why = ": it is in use on another node" if note.startswith("Multi-Attach error") else ""
    return Hint(Reason.MOUNT_FAILED, f"cannot mount {place}{why}.")


def _probe(note: str) -> Hint | None:
    found = _PROBE.search(note)
    if found is None:
        return None
    answered = _STATUS.search(note)
    cause = f"status {answered['code']}" if answered else next((_CAUSES[said] for said in _CAUSES if said in note), "")
    why = f" ({cause})" if cause else ""
    starting = found["probe"] == "Startup"
    return Hint(Reason.PROBE_FAILED, f"runs, but its {found['probe'].lower()} probe fails{why}.", starting)
