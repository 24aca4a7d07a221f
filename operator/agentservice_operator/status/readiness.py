"""Whether an AgentService serves: the pods that answer callers, and those that do tasks where there are any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from agentservice_operator.api.v1alpha1.conditions import ConditionType, Reason
from agentservice_operator.api.v1alpha1.types import AgentServiceSpec, Disruption
from agentservice_operator.api.v1alpha1.well_known import SERVER, SERVICE_LABEL, WORKER
from agentservice_operator.status.observed import DeploymentFacts, PodFacts
from agentservice_operator.status.problems import Problem, pod_problem
from agentservice_operator.status.situation import Situation
from agentservice_operator.status.wanted import conditions_by_type


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the condition Ready says, and why."""

    status: bool
    reason: Reason
    message: str
    problem: Problem | None = None
    """Why not, where that is known."""
    deployment: DeploymentFacts | None = None
    """The one whose pods are not ready."""


def readiness(situation: Situation) -> Readiness:
    """Judge an AgentService. It is Ready when its servers are and, where there are workers, these are, too.

    Of two that are not, the one with a known problem is told: the other one may only need time.
    """
    if situation.problems and not situation.paused:
        problem = situation.problems[0]
        return Readiness(status=False, reason=problem.reason, message=problem.message, problem=problem)
    servers, workers = _servers(situation), _workers(situation)
    if workers is None:
        return servers
    if servers.status and workers.status:
        return replace(servers, message=f"{servers.message} {workers.message}")
    failing = [each for each in (servers, workers) if not each.status]
    return min(failing, key=lambda each: each.problem is None)


def is_late(situation: Situation, deployment: DeploymentFacts) -> bool:
    """Whether this rollout has taken too long, and not the one before.

    Going back to what serves makes no progress, so the Deployment may say at once that it is late.
    """
    return deployment.deadline_exceeded and seconds_left(situation, deployment) <= 0


def seconds_left(situation: Situation, deployment: DeploymentFacts) -> float:
    """Until a rollout that began when the Deployment was last applied has taken too long."""
    began = datetime.fromisoformat(deployment.applied_at) if deployment.applied_at else situation.now
    return (began + situation.progress_deadline - situation.now).total_seconds()


def _servers(situation: Situation) -> Readiness:
    deployment = situation.deployment
    if deployment is None:
        if situation.paused:
            return Readiness(
                status=False, reason=situation.paused.by, message="Paused before a Deployment was made; nothing serves."
            )
        return Readiness(status=False, reason=Reason.PROGRESSING, message="The Deployment is being created.")
    judged = _deployment(situation, deployment, _pods_of(SERVER, situation))
    if judged.status and judged.reason is Reason.AVAILABLE:
        pods = f"{deployment.available_replicas} of {deployment.wanted_replicas} pods"
        return replace(judged, message=f"Revision {deployment.revision} serves on {pods}.")
    return judged


def _workers(situation: Situation) -> Readiness | None:
    """None where there are none, or none yet because of a pause: what was applied before has nothing to wait for."""
    deployment = situation.workers
    wanted = situation.spec is not None and situation.spec.tasks.workers > 0
    if not wanted or (deployment is None and situation.paused):
        return None
    if deployment is None:
        return Readiness(status=False, reason=Reason.PROGRESSING, message="Workers: the Deployment is being created.")
    judged = _deployment(situation, deployment, _pods_of(WORKER, situation))
    if judged.status:
        counts = f"{deployment.available_replicas} of {deployment.wanted_replicas}"
        return replace(judged, message=f"{counts} workers are available.")
    return replace(judged, message=f"Workers: {judged.message}")


def _pods_of(component: str, situation: Situation) -> list[PodFacts]:
    return [pod for pod in situation.pods if pod.component == component]


def _deployment(situation: Situation, deployment: DeploymentFacts, pods: Sequence[PodFacts]) -> Readiness:
    if deployment.observed_generation < deployment.generation:
        return _while_unobserved(situation, deployment)
    if deployment.wanted_replicas == 0:
        if deployment.replicas == 0:
            return Readiness(status=True, reason=Reason.SCALED_TO_ZERO, message="Scaled to zero replicas, as asked.")
        message = f"Scaling to zero; {deployment.replicas} pods are still there."
        return Readiness(status=False, reason=Reason.PROGRESSING, message=message)
    return _serving(situation, deployment, pods)


def _while_unobserved(situation: Situation, deployment: DeploymentFacts) -> Readiness:
    """The Deployment controller has not seen the newest spec: its counts speak of the one before."""
    before = conditions_by_type(situation.previous).get(ConditionType.READY, {})
    same = situation.previous.get("currentRevision") == deployment.revision and deployment.wanted_replicas > 0
    if same and before.get("status") == "True" and deployment.available_replicas > 0:
        return Readiness(status=True, reason=Reason.AVAILABLE, message="")
    message = "The Deployment has been written; its pods are being changed."
    return Readiness(status=False, reason=Reason.PROGRESSING, message=message, deployment=deployment)


def _serving(situation: Situation, deployment: DeploymentFacts, pods: Sequence[PodFacts]) -> Readiness:
    drained = deployment.updated_replicas == deployment.replicas > 0
    steady = situation.previous.get("currentRevision") == deployment.revision
    if steady:
        available, needed = _steady_counts(situation, deployment, pods)
    else:
        available, needed = deployment.available_replicas, _needed(situation.spec, deployment.wanted_replicas)
    wanted = situation.revision is None or situation.paused is not None or deployment.revision == situation.revision
    if wanted and drained and available >= needed:
        return Readiness(status=True, reason=Reason.AVAILABLE, message="")
    reason, message = _under_way(deployment, steady=steady, needed=needed)
    problem = pod_problem(situation.namespace, deployment, pods)
    if problem is None and is_late(situation, deployment):
        problem = Problem(
            Reason.PROGRESS_DEADLINE_EXCEEDED,
            f"No new pod became ready within spec.runtime.rollout.progressDeadlineSeconds;"
            f" see: kubectl -n {situation.namespace} describe pods -l {SERVICE_LABEL}={situation.name}",
            terminal=True,
        )
    if problem is not None:
        reason, message = problem.reason, problem.message
    return Readiness(status=False, reason=reason, message=message, problem=problem, deployment=deployment)


def _under_way(deployment: DeploymentFacts, *, steady: bool, needed: int) -> tuple[Reason, str]:
    counts = f"{deployment.available_replicas} of {deployment.wanted_replicas} pods are available"
    if deployment.replicas > deployment.updated_replicas:
        old = deployment.replicas - deployment.updated_replicas
        return Reason.ROLLING_OUT, f"{counts}; {old} of an earlier revision are still there."
    if steady:
        return Reason.PODS_NOT_READY, f"{counts}, at least {needed} are needed."
    return Reason.PROGRESSING, f"{counts}; the others are starting."


def _steady_counts(situation: Situation, deployment: DeploymentFacts, pods: Sequence[PodFacts]) -> tuple[int, int]:
    """How many pods of a revision that serves are available, and how many must be.

    A scale-up must not look like an outage: only pods that have been ready once, or that have a known trouble, are
    counted. Pods and Deployment come by two watches, either of which may be behind: the higher count holds.
    """
    current = [pod for pod in pods if pod.revision == deployment.revision and not pod.deleting]
    settled = sum(not pod.starting for pod in current)
    available = max(sum(pod.ready for pod in current), deployment.available_replicas)
    return available, _needed(situation.spec, min(deployment.wanted_replicas, settled))


def _needed(spec: AgentServiceSpec | None, pods: int) -> int:
    """How many of some pods must be available: as many as the PodDisruptionBudget asks for, and at least one.

    Source of the rounding: getExpectedPodCount of Kubernetes' disruption controller.
    """
    disruption = Disruption() if spec is None else spec.disruption
    missing = disruption.max_unavailable
    if isinstance(missing, str):
        missing = math.ceil(pods * int(missing.removesuffix("%")) / 100)
    return max(1, pods - missing)
