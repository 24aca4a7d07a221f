"""Which parts of which children a field of the spec may touch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from agentservice_operator.builders.build import build
from agentservice_operator.builders.references import references

from tests.unit.builders.services import CONTEXT, agent_service
from tests.unit.transitions.leaves import Leaf, Spec

_REVISION = "Deployment spec.template.metadata.annotations.agentservice.dev/revision"
_POD = "Deployment spec.template.spec"
WORKERS = "workers' "
"""Stands before the kind of a child that belongs to the workers: of these, too, a field may touch what it may touch of
the servers' children."""
_OF_WORKERS = ("Deployment", "PodDisruptionBudget", "NetworkPolicy")
_CONFIGURATION = ("ConfigMap metadata.name", "ConfigMap data", f"{_POD}.volumes", _REVISION)

TOUCHES: dict[str, tuple[str, ...]] = {
    "spec.paused": (),
    "spec.inheritedMetadata.labels": ("* metadata.labels",),
    "spec.inheritedMetadata.annotations": ("* metadata.annotations",),
    "spec.models": _CONFIGURATION,
    "spec.models[].provider": (*_CONFIGURATION, f"{_POD}.containers"),
    "spec.models[].anthropic.credentials": (*_CONFIGURATION, f"{_POD}.containers"),
    "spec.defaultModel": _CONFIGURATION,
    "spec.agents": _CONFIGURATION,
    "spec.defaultAgent": _CONFIGURATION,
    "spec.tools": _CONFIGURATION,
    "spec.tools[].type": (*_CONFIGURATION, f"{_POD}.containers"),
    "spec.tools[].http.headers[].valueFrom": (*_CONFIGURATION, f"{_POD}.containers"),
    "spec.tools[].mcp.headers[].valueFrom": (*_CONFIGURATION, f"{_POD}.containers"),
    "spec.maxHistoryTokens": _CONFIGURATION,
    "spec.requestTimeoutSeconds": ("HTTPRoute spec.rules", *_CONFIGURATION, f"{_POD}.terminationGracePeriodSeconds"),
    "spec.runtime.image": (f"{_POD}.containers", _REVISION),
    "spec.runtime.imagePullPolicy": (f"{_POD}.containers", _REVISION),
    "spec.runtime.imagePullSecrets": (f"{_POD}.imagePullSecrets", _REVISION),
    "spec.runtime.resources": (f"{_POD}.containers", _REVISION),
    "spec.runtime.env": (f"{_POD}.containers", _REVISION),
    "spec.runtime.nodeSelector": (f"{_POD}.nodeSelector", _REVISION),
    "spec.runtime.tolerations": (f"{_POD}.tolerations", _REVISION),
    "spec.runtime.affinity": (f"{_POD}.affinity", _REVISION),
    "spec.runtime.topologySpreadConstraints": (f"{_POD}.topologySpreadConstraints", _REVISION),
    "spec.runtime.priorityClassName": (f"{_POD}.priorityClassName", _REVISION),
    "spec.runtime.serviceAccount.name": ("ServiceAccount", f"{_POD}.serviceAccountName", _REVISION),
    "spec.runtime.serviceAccount.annotations": ("ServiceAccount metadata.annotations",),
    "spec.runtime.trustBundle": (
        *_CONFIGURATION,
        f"{_POD}.containers",
        "Deployment spec.template.metadata.annotations.agentservice.dev/trust-bundle",
    ),
    "spec.runtime.podLabels": ("Deployment spec.template.metadata.labels", _REVISION),
    "spec.runtime.podAnnotations": ("Deployment spec.template.metadata.annotations",),
    "spec.runtime.maxConcurrentRequests": _CONFIGURATION,
    "spec.runtime.maxQueuedRequests": _CONFIGURATION,
    "spec.runtime.lameDuckSeconds": (*_CONFIGURATION, f"{_POD}.containers", f"{_POD}.terminationGracePeriodSeconds"),
    "spec.runtime.drainSeconds": (*_CONFIGURATION, f"{_POD}.terminationGracePeriodSeconds"),
    "spec.runtime.rollout": ("Deployment spec.strategy.rollingUpdate",),
    "spec.runtime.rollout.progressDeadlineSeconds": ("Deployment spec.progressDeadlineSeconds",),
    "spec.runtime.revisionHistoryLimit": ("Deployment spec.revisionHistoryLimit",),
    "spec.replicas": ("Deployment spec.replicas", "PodDisruptionBudget"),
    "spec.autoscaling": ("HorizontalPodAutoscaler spec",),
    "spec.autoscaling.maxReplicas": ("HorizontalPodAutoscaler", "PodDisruptionBudget"),
    "spec.disruption": ("PodDisruptionBudget spec.maxUnavailable",),
    "spec.state.backend": (
        *_CONFIGURATION,
        f"{_POD}.containers",
        f"{_POD}.securityContext",
        "Deployment spec.strategy",
        "Deployment spec.replicas",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service spec.sessionAffinity",
        "Service spec.sessionAffinityConfig",
    ),
    "spec.state.postgreSQL.urlFrom": (*_CONFIGURATION, f"{_POD}.containers"),
    "spec.state.redis.urlFrom": (*_CONFIGURATION, f"{_POD}.containers"),
    "spec.state.volume.size": ("PersistentVolumeClaim spec.resources",),
    "spec.state.volume.storageClassName": ("PersistentVolumeClaim spec.storageClassName",),
    "spec.state.volume.whenDeleted": ("PersistentVolumeClaim metadata.ownerReferences",),
    "spec.state.retentionDays": _CONFIGURATION,
    "spec.tasks": _CONFIGURATION,
    "spec.tasks.workers": (*_CONFIGURATION, *(f"{WORKERS}{kind}" for kind in _OF_WORKERS)),
    "spec.access.apiKeys.source": ("Secret", f"{_POD}.volumes", _REVISION),
    "spec.access.apiKeys.secretRef": (f"{_POD}.volumes", _REVISION),
    "spec.access.apiKeys.rotation": ("Secret metadata.annotations",),
    "spec.access.clients": _CONFIGURATION,
    "spec.exposure.service": ("Service spec",),
    "spec.exposure.service.annotations": ("Service metadata.annotations",),
    "spec.exposure.ingress": ("Ingress spec",),
    "spec.exposure.httpRoute": ("HTTPRoute spec",),
    "spec.exposure.cors": _CONFIGURATION,
    "spec.exposure.apiDocs": _CONFIGURATION,
    "spec.exposure.service.port": ("Service spec.ports", "HTTPRoute spec.rules"),
    "spec.exposure.ingress.path": ("Ingress spec.rules", *_CONFIGURATION),
    "spec.exposure.ingress.annotations": ("Ingress metadata.annotations",),
    "spec.networkPolicy": ("NetworkPolicy",),
    "spec.observability.logLevel": _CONFIGURATION,
    "spec.observability.podMonitor": ("PodMonitor",),
    "spec.observability.podMonitor.labels": ("PodMonitor metadata.labels",),
    "spec.observability.prometheusRule": ("PrometheusRule",),
    "spec.observability.prometheusRule.labels": ("PrometheusRule metadata.labels",),
}
"""By the beginning of a leaf's path, the longest one counts: ``KIND PATH``, where a path stands for all below it and *
for every kind."""

TOUCHES_NOTHING = {
    "spec.paused": "while it is set, the engine writes no child",
}
"""Leaves of which no child tells, and why."""


def row_for(leaf: Leaf) -> str | None:
    """The row of TOUCHES that counts for a leaf."""
    rows = [row for row in TOUCHES if _is_at_or_below(str(leaf), row)]
    return max(rows, key=len, default=None)


def differences(before: Spec, after: Spec) -> set[str]:
    """What differs between the children of two specs: ``KIND PATH`` of every value."""
    ours, theirs = _values(before), _values(after)
    return {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}


def outside(paths: set[str], allowed: Sequence[str]) -> set[str]:
    """The paths that are under none of those allowed."""
    return {path for path in paths if not any(_is_allowed(path, each) for each in allowed)}


def children(spec: Spec) -> list[dict[str, Any]]:
    """The children of a spec whose references are all found."""
    service = agent_service(**spec)
    wanted = references(service)
    prompts = {key: f"Prompt {key}." for key in wanted.config_maps}
    bundles = {wanted.trust_bundle: f"{wanted.trust_bundle}"} if wanted.trust_bundle else {}
    return build(service, replace(CONTEXT, config_map_values=prompts, trust_bundle_digests=bundles))


def _values(spec: Spec) -> dict[str, Any]:
    return {f"{_named(child)} {path}": value for child in children(spec) for path, value in _flat(child, "")}


def _named(child: dict[str, Any]) -> str:
    of_workers = child["metadata"]["labels"]["app.kubernetes.io/component"] == "worker"
    return f"{WORKERS if of_workers else ''}{child['kind']}"


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list) and value:
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in entries:
            yield from _flat(inner, f"{path}.{key}".removeprefix("."))
    else:
        yield path, value


def _is_allowed(path: str, allowed: str) -> bool:
    if not allowed.startswith(WORKERS):
        path = path.removeprefix(WORKERS)
    if allowed.startswith("* "):
        path, allowed = path.partition(" ")[2], allowed.removeprefix("* ")
    return path.startswith(f"{allowed} ") or _is_at_or_below(path, allowed)


def _is_at_or_below(path: str, above: str) -> bool:
    return path == above or path.startswith((f"{above}.", f"{above}["))
