"""Specs that are valid, and of which nothing good comes: refused in a child, or leading to pods that never serve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dev.kwok_stages import PREFIX
from tests.controlplane.agent_services import AgentServices, Object
from tests.unit.transitions.cases import Sort, all_cases
from tests.unit.transitions.leaves import Spec

_KEY = {"secretKeyRef": {"name": "nowhere", "key": "api-key"}}
_LONG_ANNOTATIONS = {f"example.com/{n}": "a" * 4096 for n in range(64)}
"""Each within its bound, together above the 256 KiB that Kubernetes allows."""
_LONG_PROMPTS = [{"name": f"agent-{n}", "systemPrompt": "€" * 32_768} for n in range(11)]
"""Each within its bound, together above the MiB of a ConfigMap."""


def _nothing(services: AgentServices, name: str) -> None:
    del services, name


@dataclass(frozen=True)
class ErrorState:
    """A healthy spec, and one that leads into an error.

    Args:
        healthy: what runs before, and what puts it right.
        broken: what is applied meanwhile.
        reason: that Ready is False for.
        stalled: whether nothing moves without a person, which Stalled says.
        prepare: makes what stands in the way of the broken one, for the AgentService of that name.
    """

    healthy: Spec
    broken: Spec
    reason: str
    stalled: bool = True
    prepare: Callable[[AgentServices, str], object] = _nothing


def error_states() -> dict[str, ErrorState]:
    """Each with what is wrong; those for which the schema is too wide come from the cases of its leaves."""
    rejected = {str(case): ErrorState(case.before, case.after, "ChildRejected") for case in all_cases(Sort.REJECTED)}
    return rejected | _BY_HAND


def _spec(**fields: Any) -> Spec:
    return {
        "models": [{"name": "main", "provider": "Echo"}],
        "agents": [{"name": "assistant", "systemPrompt": "Be brief."}],
        "replicas": 2,
        **fields,
    }


def _tool(schema: dict[str, Any]) -> dict[str, Any]:
    http = {"method": "POST", "url": "http://shop.team-b.svc/orders", "inputSchema": schema}
    return {"name": "order", "type": "HTTP", "http": http}


def _of_pods(reason: str, *, stalled: bool = False, **runtime: Any) -> ErrorState:
    return ErrorState(_spec(), _spec(runtime=runtime), reason, stalled)


def _pods_that_are(state: str) -> dict[str, str]:
    return {f"{PREFIX}/pod": state}


def _make_foreign_autoscaler(services: AgentServices, name: str) -> None:
    """Somebody else's, with the name that ours would have."""
    foreign: Object = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": services.namespace},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"}, "maxReplicas": 3},
    }
    services.cluster.api.create(foreign)


def _make_quota(services: AgentServices, name: str) -> None:
    """No room for pods of a class that the other AgentServices do not use."""
    of_the_class = {"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}
    quota: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": name, "namespace": services.namespace},
        "spec": {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [of_the_class]}},
    }
    services.cluster.api.create(quota)


_BY_HAND = {
    "annotations of pods too long together": _of_pods("ChildRejected", stalled=True, podAnnotations=_LONG_ANNOTATIONS),
    "annotations of children too long together": ErrorState(
        _spec(), _spec(inheritedMetadata={"annotations": _LONG_ANNOTATIONS}), "ChildRejected"
    ),
    "prompts too long together": ErrorState(
        _spec(), _spec(agents=_LONG_PROMPTS, defaultAgent="agent-0"), "ChildRejected"
    ),
    "an unknown resource": _of_pods("ChildRejected", stalled=True, resources={"requests": {"teacups": 1}}),
    "a foreign object in the way": ErrorState(
        {name: value for name, value in _spec().items() if name != "replicas"},
        {name: value for name, value in _spec(autoscaling={"maxReplicas": 3}).items() if name != "replicas"},
        "NameConflict",
        prepare=_make_foreign_autoscaler,
    ),
    "an input of a tool that models do not take": ErrorState(
        _spec(tools=[_tool({"type": "object"})]),
        _spec(tools=[_tool({"type": "object", "anyOf": [{"required": ["a"]}]})]),
        "InvalidSpec",
    ),
    "an input of a tool that no JSON schema describes": ErrorState(
        _spec(), _spec(tools=[_tool({"properties": {"dish": {"type": "text"}}})]), "InvalidSpec"
    ),
    "a missing Secret": ErrorState(
        _spec(),
        _spec(
            models=[{"name": "main", "provider": "Anthropic", "anthropic": {"model": "claude", "credentials": _KEY}}]
        ),
        "ReferenceNotFound",
        stalled=False,
    ),
    "more memory than any node has": _of_pods(
        "Unschedulable", stalled=False, resources={"requests": {"memory": "8Ei"}}
    ),
    "no such node": _of_pods("Unschedulable", nodeSelector={"kubernetes.io/os": "plan9"}),
    "no such PriorityClass": _of_pods("ChildRejected", priorityClassName="no-such-class"),
    "an exhausted quota": replace(
        _of_pods("QuotaExceeded", priorityClassName="system-node-critical"), prepare=_make_quota
    ),
    "an image that cannot be pulled": _of_pods(
        "ImagePullFailed", podAnnotations=_pods_that_are("ImagePullBackOff"), image="nowhere.example/none"
    ),
    "pods that crash": _of_pods("CrashLooping", podAnnotations=_pods_that_are("CrashLoopBackOff")),
    "pods that are never ready": _of_pods(
        "ProgressDeadlineExceeded",
        stalled=True,
        podAnnotations=_pods_that_are("NotReady"),
        rollout={"progressDeadlineSeconds": 2},
    ),
}
