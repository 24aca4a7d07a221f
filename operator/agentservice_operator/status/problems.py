"""What keeps an AgentService from being Ready, each with a sentence that tells the person what to do next."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from agent_runtime.ending import Ending
from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.status.observed import DeploymentFacts, PodFacts

_IMAGE_PULL = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
)
_CRASH = frozenset({"CrashLoopBackOff", "RunContainerError", "CreateContainerError", "StartError"})
_NO_SERVICE_ACCOUNT = re.compile(r'error looking up service account .*: serviceaccount "(?P<name>[^"]+)" not found')
"""Source of the sentence: the admission plugin ServiceAccount of Kubernetes."""
_EXIT_HINTS = {
    2: "its configuration was refused",
    137: "it was killed; if the reason is OOMKilled, raise spec.runtime.resources.limits.memory",
    139: "it crashed with a segmentation fault",
}
_ENDINGS = {
    Ending.ENVIRONMENT_REFUSED: "it refuses an environment variable; correct spec.runtime.env",
    Ending.CONFIGURATION_UNREADABLE: "it cannot read its configuration",
    Ending.CONFIGURATION_TOO_NEW: "its image is too old for this operator; use a newer one in spec.runtime.image",
    Ending.CONFIGURATION_REFUSED: "it refuses its configuration; correct the spec",
    Ending.API_KEYS_UNUSABLE: "the Secret with the API keys of its callers holds no key; put one in",
    Ending.CREDENTIALS_UNUSABLE: "a Secret with a model's credentials holds no API key; put it in",
    Ending.STATE_UNUSABLE: "it cannot use the database that holds its state, or its Redis; its log says why",
    Ending.PORT_UNAVAILABLE: "it cannot listen on its port; correct spec.runtime.env",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason for not being Ready."""

    reason: Reason
    message: str
    terminal: bool = False
    """Nothing moves until somebody changes an object: Stalled at once, not after the deadline."""


def pod_problem(namespace: str, deployment: DeploymentFacts, pods: Iterable[PodFacts]) -> Problem | None:
    """The problem of the pods that should serve, None where they are fine or just starting.

    Pods of the Deployment's current revision come first: an old revision's trouble is on its way out.
    """
    if deployment.replica_failure is not None:
        return _no_pod(deployment.replica_failure.rstrip("."))
    candidates = sorted(
        (pod for pod in pods if not pod.ready and not pod.deleting),
        key=lambda pod: (pod.revision != deployment.revision, pod.name),
    )
    for pod in candidates:
        problem = _problem_of(namespace, pod)
        if problem is not None:
            return problem
    return None


def unexplained(pod: PodFacts) -> bool:
    """Whether a pod is not ready and does not say why: only its Events may."""
    return not pod.ready and not pod.deleting and _problem_of("", replace(pod, hint=None)) is None


def _no_pod(failure: str) -> Problem:
    if "exceeded quota" in failure:
        return Problem(
            Reason.QUOTA_EXCEEDED,
            f"The namespace's quota leaves no room for a pod: {failure}."
            " Raise the quota or lower spec.runtime.resources.",
        )
    if nobody := _NO_SERVICE_ACCOUNT.search(failure):
        return Problem(
            Reason.REFERENCE_NOT_FOUND,
            f"ServiceAccount {nobody['name']} does not exist; it is needed for the pods, which run as it."
            " Create it in the same namespace.",
        )
    return Problem(
        Reason.CHILD_REJECTED,
        f"The API server refuses the pods: {failure}. Change spec.runtime, or the policy that refuses them.",
    )


def _problem_of(namespace: str, pod: PodFacts) -> Problem | None:
    if pod.unschedulable is not None:
        return Problem(
            Reason.UNSCHEDULABLE,
            f"Pod {pod.name} fits on no node: {pod.unschedulable.rstrip('.')}."
            " Add nodes, or change spec.runtime.resources and where pods may run.",
        )
    if pod.waiting_reason in _IMAGE_PULL:
        return Problem(
            Reason.IMAGE_PULL_FAILED,
            f"Pod {pod.name} cannot get its image {pod.image} ({pod.waiting_reason})."
            " Check spec.runtime.image, the registry and spec.runtime.imagePullSecrets.",
        )
    if pod.waiting_reason == "CreateContainerConfigError":
        return _not_configured(pod, (pod.waiting_message or "a Secret or ConfigMap is missing").rstrip("."))
    crashed = pod.exit_code not in (None, 0) and pod.restarts > 0
    if pod.waiting_reason in _CRASH or crashed:
        return Problem(Reason.CRASH_LOOPING, f"{_crash(pod)} See: kubectl -n {namespace} logs {pod.name} --previous")
    if pod.hint is not None:
        see = f"kubectl -n {namespace} describe pod {pod.name}"
        return Problem(pod.hint.reason, f"Pod {pod.name} {pod.hint.sentence} See: {see}")
    return None


def _not_configured(pod: PodFacts, said: str) -> Problem:
    """The kubelet uses one reason for references that are missing and for images that may not run as they are."""
    if "runAsNonRoot" in said or "runAsUser" in said:
        return Problem(
            Reason.CRASH_LOOPING,
            f"Pod {pod.name} cannot start: {said}. Set spec.runtime.image to one that runs as a numbered user.",
        )
    return Problem(
        Reason.REFERENCE_NOT_FOUND,
        f"Pod {pod.name} cannot start: {said}; create it, or correct the reference in spec.runtime.env.",
    )


def _crash(pod: PodFacts) -> str:
    if pod.exit_code is None:
        return f"Pod {pod.name} cannot start its container ({pod.waiting_reason})."
    reason = pod.exit_reason if pod.exit_reason != "Error" else None
    why = _ENDINGS[pod.ending] if pod.ending else _EXIT_HINTS.get(pod.exit_code)
    detail = ", ".join(part for part in (reason, why) if part)
    ends = f"exit code {pod.exit_code}{f' ({detail})' if detail else ''}"
    return f"Pod {pod.name} keeps ending with {ends}, {pod.restarts} restarts."
