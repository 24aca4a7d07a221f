"""What is special about the PersistentVolumeClaim: its data is worth more than the wish of a spec."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.builders.quantities import amount
from agentservice_operator.engine.ports import KubernetesError, Object
from agentservice_operator.status.problems import Problem
from agentservice_operator.status.volume import VolumeFacts


def never_smaller(intent: Object, live: VolumeFacts) -> Object:
    """The intent with the live size where that is larger: a claim does not shrink, whoever let it grow."""
    resources = intent["spec"]["resources"]
    requests = resources["requests"]
    if not live.requested or amount(requests["storage"]) >= amount(live.requested):
        return intent
    grown = {**resources, "requests": {**requests, "storage": live.requested}}
    return {**intent, "spec": {**intent["spec"], "resources": grown}}


def refused(live: VolumeFacts, error: KubernetesError) -> Problem:
    """The API server does not change a claim, which goes on serving as it is."""
    kind = f" of storage class {live.storage_class}" if live.storage_class else ""
    reason = str(error).splitlines()[0].rstrip(".")
    return Problem(
        Reason.CHILD_REJECTED,
        f"PersistentVolumeClaim {live.claim} stays as it is, {live.requested}{kind}: {reason}."
        " Let its StorageClass allow expansion, or set spec.state.volume to what the claim is.",
        terminal=True,
    )
