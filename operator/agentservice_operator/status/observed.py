"""The few facts of live objects that a status is made of; pure projections, so that whole objects need not be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent_runtime.ending import Ending, read
from agentservice_operator.api.v1alpha1.well_known import COMPONENT_LABEL, FIELD_MANAGER, REVISION_ANNOTATION
from agentservice_operator.status.pod_events import Hint

Object = Mapping[str, Any]

LONGEST_REFUSAL = 500
"""Characters of a controller's sentence."""


@dataclass(frozen=True, slots=True)
class DeploymentFacts:
    """What a Deployment says of itself."""

    revision: str
    """The revision annotation of its pod template."""
    generation: int
    observed_generation: int
    wanted_replicas: int
    replicas: int
    updated_replicas: int
    ready_replicas: int
    available_replicas: int
    applied_at: str
    """When our field manager last changed its spec."""
    deadline_exceeded: bool
    """Whether its controller saw a rollout take too long: this one, or one before it since which nothing moved."""
    replica_failure: str | None
    """Why the ReplicaSet could not create a pod, in the API server's words."""


@dataclass(frozen=True, slots=True)
class AutoscalerFacts:
    """The ScalingActive condition of a HorizontalPodAutoscaler, None until it has one."""

    scaling_active: bool | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class IngressFacts:
    """What a controller says of an Ingress. Not which address: controllers that move would be news each time."""

    has_address: bool


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """What the controller of a Gateway says of an HTTPRoute."""

    name: str
    accepts: bool | None
    """None until it has spoken about the newest spec of the route."""
    refusal: str
    """Why not, in its words."""


@dataclass(frozen=True, slots=True)
class HTTPRouteFacts:
    """What the Gateways of an HTTPRoute say, in the order in which it names them."""

    gateways: tuple[GatewayFacts, ...]


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What is wrong with a pod, or that it is ready."""

    name: str
    uid: str
    component: str
    """What it is for, as its label says; empty where it says nothing."""
    revision: str
    ready: bool
    unready_since: str
    """When it became not ready, as the kubelet noted it; empty where it did not yet."""
    lost_readiness: bool
    """Not ready, although its container that runs now once was."""
    deleting: bool
    restarts: int
    waiting_reason: str | None
    waiting_message: str | None
    exit_code: int | None
    """Of the last end of the container, None where it never ended."""
    exit_reason: str | None
    ending: Ending | None
    """Why our runtime says it could not serve. Nothing else that a container leaves behind is looked at."""
    unschedulable: str | None
    """The scheduler's sentence."""
    image: str
    address: str
    """IP address, empty until it has one."""
    hint: Hint | None = None
    """What its Events say is wrong, where they were asked for."""

    @property
    def starting(self) -> bool:
        """Not ready yet, for the first time, and nothing is known to be wrong."""
        quiet = (None, "ContainerCreating", "PodInitializing")
        troubled = self.lost_readiness or self.restarts or self.unschedulable or self.hint
        settled = self.ready or self.deleting or troubled
        return not settled and self.waiting_reason in quiet


def deployment_facts(item: Object) -> DeploymentFacts:
    """Project a Deployment."""
    spec, status = item.get("spec", {}), item.get("status", {})
    progressing = _condition(status, "Progressing")
    failure = _condition(status, "ReplicaFailure")
    annotations = spec.get("template", {}).get("metadata", {}).get("annotations") or {}
    return DeploymentFacts(
        revision=annotations.get(REVISION_ANNOTATION, ""),
        generation=item["metadata"].get("generation", 0),
        observed_generation=status.get("observedGeneration", 0),
        wanted_replicas=spec.get("replicas", 1),
        replicas=status.get("replicas", 0),
        updated_replicas=status.get("updatedReplicas", 0),
        ready_replicas=status.get("readyReplicas", 0),
        available_replicas=status.get("availableReplicas", 0),
        applied_at=_applied_at(item),
        deadline_exceeded=progressing.get("reason") == "ProgressDeadlineExceeded",
        replica_failure=failure.get("message") if failure.get("status") == "True" else None,
    )


def _applied_at(item: Object) -> str:
    ours = (entry for entry in item["metadata"].get("managedFields") or () if entry.get("manager") == FIELD_MANAGER)
    return max((entry.get("time") or "" for entry in ours), default="")


def autoscaler_facts(item: Object) -> AutoscalerFacts:
    """Project a HorizontalPodAutoscaler."""
    active = _condition(item.get("status", {}), "ScalingActive")
    return AutoscalerFacts(
        scaling_active={"True": True, "False": False}.get(active.get("status", "")),
        reason=active.get("reason", ""),
        message=active.get("message", ""),
    )


def ingress_facts(item: Object) -> IngressFacts:
    """Project an Ingress."""
    return IngressFacts(has_address=bool((item.get("status", {}).get("loadBalancer") or {}).get("ingress")))


def http_route_facts(item: Object) -> HTTPRouteFacts:
    """Project an HTTPRoute."""
    answers = item.get("status", {}).get("parents") or ()
    namespace, generation = item["metadata"]["namespace"], item["metadata"].get("generation", 0)
    gateways = []
    for ref in item.get("spec", {}).get("parentRefs") or ():
        parent = _parent(ref, namespace)
        said = [
            _answer(each, generation) for each in answers if _parent(each.get("parentRef", {}), namespace) == parent
        ]
        # Several controllers may speak of a Gateway: one that gave it up need not have taken back what it said.
        accepts, refusal = min(said, key=lambda answer: (True, False, None).index(answer[0]), default=(None, ""))
        gateways.append(GatewayFacts(f"{parent[0]}/{parent[1]}", accepts, refusal))
    return HTTPRouteFacts(tuple(gateways))


def _parent(ref: Object, namespace: str) -> tuple[str, str, str | None, int | None]:
    return ref.get("namespace") or namespace, ref.get("name", ""), ref.get("sectionName"), ref.get("port")


def _answer(answer: Object, generation: int) -> tuple[bool | None, str]:
    """Whether a controller accepts a route, and if not, why. Source: RouteParentStatus of the Gateway API."""
    accepted, resolved = _condition(answer, "Accepted"), _condition(answer, "ResolvedRefs")
    for each in (accepted, resolved):
        if each.get("observedGeneration", generation) < generation:
            return None, ""
        if each.get("status") == "False":
            return False, f"{each.get('reason', '')}: {each.get('message', '')[:LONGEST_REFUSAL]}"
    return (True if accepted.get("status") == "True" else None), ""


def pod_facts(item: Object) -> PodFacts:
    """Project a pod of an AgentService; its first container is the runtime."""
    meta, status = item["metadata"], item.get("status", {})
    containers = status.get("containerStatuses") or [{}]
    container = min(containers, key=lambda entry: bool(entry.get("ready")))  # a container that is not ready tells more
    state = container.get("state", {})
    waiting = state.get("waiting", {})
    ended = state.get("terminated") or container.get("lastState", {}).get("terminated") or {}
    scheduled, ready = _condition(status, "PodScheduled"), _condition(status, "Ready")
    return PodFacts(
        name=meta["name"],
        uid=meta.get("uid", ""),
        component=(meta.get("labels") or {}).get(COMPONENT_LABEL, ""),
        revision=(meta.get("annotations") or {}).get(REVISION_ANNOTATION, ""),
        ready=ready.get("status") == "True",
        unready_since=(ready.get("lastTransitionTime") or "") if ready.get("status") == "False" else "",
        lost_readiness=_lost_readiness(ready, state),
        deleting="deletionTimestamp" in meta,
        restarts=container.get("restartCount", 0),
        waiting_reason=waiting.get("reason"),
        waiting_message=waiting.get("message"),
        exit_code=ended.get("exitCode"),
        exit_reason=ended.get("reason"),
        ending=read(ended.get("message")),
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else None,
        image=item.get("spec", {}).get("containers", [{}])[0].get("image", ""),
        address=status.get("podIP", ""),
    )


def _lost_readiness(ready: Object, state: Object) -> bool:
    """The kubelet first says that a pod is not ready before it starts the container; later that means a change."""
    started = state.get("running", {}).get("startedAt", "")
    return ready.get("status") == "False" and bool(started) and (ready.get("lastTransitionTime") or "") > started


def _condition(status: Object, kind: str) -> Mapping[str, Any]:
    return next((entry for entry in status.get("conditions") or () if entry.get("type") == kind), {})
