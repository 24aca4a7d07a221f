"""The Deployment of the serving pods."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.api.v1alpha1.well_known import REVISION_ANNOTATION
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.hashing import short_hash
from agentservice_operator.builders.labels import Object, child_metadata, selector_labels
from agentservice_operator.builders.pod_template import on_volume, pod_template


def build_deployment(service: AgentService, context: BuildContext, *, config_map: str) -> Object:
    """The Deployment NAME.

    Args:
        service: The owner.
        context: Install-wide defaults.
        config_map: Name of the ConfigMap with the runtime's configuration.
    """
    runtime = service.spec.runtime
    spec: Object = {
        "selector": {"matchLabels": selector_labels(service)},
        "strategy": _strategy(service),
        "progressDeadlineSeconds": runtime.rollout.progress_deadline_seconds,
        "revisionHistoryLimit": runtime.revision_history_limit,
        "template": _with_revision(pod_template(service, context, config_map=config_map)),
    }
    if (replicas := _replicas(service)) is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": child_metadata(service, service.metadata.name),
        "spec": spec,
    }


def revision(deployment: Object) -> str:
    """The 10 hexadecimal digits that name what a Deployment's pods run.

    Raises:
        KeyError: The Deployment is none that ``build_deployment`` made.
    """
    return str(deployment["spec"]["template"]["metadata"]["annotations"][REVISION_ANNOTATION])


def _strategy(service: AgentService) -> Object:
    """Both leaves are ours, so that they go together: a Recreate is refused while one of them is left."""
    if on_volume(service):
        return {"type": "Recreate"}
    rollout = service.spec.runtime.rollout
    leaves = {"maxSurge": rollout.max_surge, "maxUnavailable": rollout.max_unavailable}
    return {"type": "RollingUpdate", "rollingUpdate": leaves}


def _replicas(service: AgentService) -> int | None:
    """None where the count is left to others. That of a volume never is: two pods would write one database."""
    if service.spec.replicas is None and on_volume(service):
        return 1
    return service.spec.replicas


def _with_revision(template: Object) -> Object:
    metadata = template["metadata"]
    annotations = {**metadata.get("annotations", {}), REVISION_ANNOTATION: short_hash(template)}
    return {**template, "metadata": {**metadata, "annotations": annotations}}
