"""What one AgentService and its children have come to, without what depends on how they came to it."""

from __future__ import annotations

import copy
import http.client
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from agentservice_operator.api.v1alpha1.well_known import COMPONENT_LABEL, SERVICE_LABEL, WORKER
from agentservice_operator.engine.kinds import AGENT_SERVICE, CHILDREN, POD, REPLICA_SET

from agent_runtime.config import PREVIOUS_KEY_SUFFIX
from dev.api_client import ApiError
from dev.cluster import Cluster
from tests.controlplane.agent_services import Object, condition, verdict
from tests.controlplane.end_state import EndState, end_state

KINDS = (AGENT_SERVICE, *CHILDREN, REPLICA_SET, POD)
_GIVEN_ONCE = ("nodePort", "healthCheckNodePort")
"""What the API server chooses for a Service."""


@dataclass(frozen=True)
class Snapshot:
    """Everything in a namespace at one moment.

    Args:
        namespace: which.
        home: the operator's own, which children may name.
        found: the objects by kind.
    """

    namespace: str
    home: str
    found: dict[str, list[Object]]

    @classmethod
    def take(cls, cluster: Cluster, namespace: str, home: str) -> Snapshot:
        """Look at every kind, one after the other."""
        return cls(namespace, home, {kind.kind: _list(cluster, kind.path(namespace)) for kind in KINDS})

    def service(self, name: str) -> Object:
        """The AgentService."""
        return next(item for item in self.found["AgentService"] if item["metadata"]["name"] == name)

    def objects(self, kind: str, name: str) -> list[Object]:
        """The children of a kind of the AgentService `name`; also its ReplicaSets and pods."""
        return [item for item in self.found[kind] if item["metadata"].get("labels", {}).get(SERVICE_LABEL) == name]

    def state(self, name: str) -> EndState:
        """What the AgentService `name` has come to.

        Nobody states the count of servers whose spec leaves it out: it is what it last was. What is kept for a
        rollback (old configurations and ReplicaSets) is as much as has been, and pods that are not all ready are an
        earlier revision's as well.
        """
        found = {kind: copy.deepcopy(self.objects(kind, name)) for kind in self.found}
        service = copy.deepcopy(self.service(name))
        counted, steady = "replicas" in service["spec"], (verdict(service) or ("", ""))[0] == "True"
        for deployment in found["Deployment"]:
            deployment["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
            of_workers = deployment["metadata"]["labels"][COMPONENT_LABEL] == WORKER
            if not ((counted or of_workers) and steady):
                deployment["spec"].pop("replicas")
                deployment["status"] = {}
        mounted = str([deployment["spec"]["template"]["spec"]["volumes"] for deployment in found["Deployment"]])
        found["ConfigMap"] = [item for item in found["ConfigMap"] if item["metadata"]["name"] in mounted]
        if service["spec"].get("state", {}).get("backend") != "Volume":
            found["PersistentVolumeClaim"] = []  # of an earlier spec: conversations are never deleted for an edit
        for secret in found["Secret"]:
            kept = {key for key in secret.get("data", ()) if not key.endswith(PREVIOUS_KEY_SUFFIX)}
            secret["data"] = dict.fromkeys(kept, "")  # a rotation keeps the key of before
        for exposed in found["Service"]:
            for part in (exposed["spec"], *exposed["spec"]["ports"]):
                for field in _GIVEN_ONCE:
                    part.pop(field, None)
        found["ReplicaSet"] = [item for item in found["ReplicaSet"] if counted and steady and item["spec"]["replicas"]]
        found["Pod"] = found["Pod"] if counted and steady else []
        found["AgentService"] = [_without_history(service, counted=counted, steady=steady)]
        return end_state(found, {name: "NAME", self.namespace: "NAMESPACE", self.home: "HOME"})


def is_settled(service: Object) -> bool:
    """Whether it is Ready, or nothing moves any more as long as nobody acts."""
    if service["spec"].get("paused"):
        return condition(service, "Paused") is not None
    if verdict(service) is None:
        return False
    working = condition(service, "Reconciling")
    return working is None or working["reason"] not in {"Progressing", "RollingOut", "WaitingForDeletion"}


def _list(cluster: Cluster, path: str) -> list[Object]:
    try:
        return cluster.api.list(path)
    except ApiError as error:
        if error.code == http.client.NOT_FOUND:  # the API server lacks the kind
            return []
        raise


def _without_history(service: Object, *, counted: bool, steady: bool) -> Object:
    status: dict[str, Any] = service.get("status", {})
    dropped = {"observedGeneration", "appliedGeneration"}
    dropped |= set() if counted and steady else {"replicas", "readyReplicas"}
    dropped |= set() if steady else {"currentRevision"}
    kept = {name: value for name, value in status.items() if name not in dropped}
    kept["conditions"] = sorted(_plain(status.get("conditions", ()), counted=counted), key=lambda entry: entry["type"])
    return {**service, "status": kept}


def _plain(conditions: Iterable[Object], *, counted: bool) -> list[Object]:
    """Conditions without what names pods or counts them; whether state is shared depends on the count."""
    return [
        {"type": entry["type"], "status": entry["status"], "reason": entry["reason"] if counted else ""}
        for entry in conditions
        if counted or entry["type"] not in {"StateShared", "ScalingActive"}
    ]
