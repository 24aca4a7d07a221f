"""The Deployments: NAME, whose pods answer callers, and NAME-worker, whose pods do tasks."""

from __future__ import annotations

from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.api.v1alpha1.well_known import REVISION_ANNOTATION, SERVER, WORKER
from agentservice_operator.builders import names
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.hashing import short_hash
from agentservice_operator.builders.labels import Object, child_metadata, selector_labels
from agentservice_operator.builders.pod_template import on_volume, pod_template


def build_deployments(service: AgentService, context: BuildContext, *, config_map: str) -> list[Object]:
    """The Deployment NAME, and NAME-worker where the spec asks for workers.

    The pods of both are of one revision: it changes with the template of either, and with it both are rolled out.

    Args:
        service: The owner.
        context: Install-wide defaults.
        config_map: Name of the ConfigMap with the runtime's configuration.
    """
    name = service.metadata.name
    server = pod_template(service, context, SERVER, config_map=config_map)
    if not service.spec.tasks.workers:
        return [_deployment(service, SERVER, name, _with_revision(server, short_hash(server)), _replicas(service))]
    worker = pod_template(service, context, WORKER, config_map=config_map)
    both, workers = short_hash([server, worker]), service.spec.tasks.workers
    return [
        _deployment(service, SERVER, name, _with_revision(server, both), _replicas(service)),
        _deployment(service, WORKER, names.workers(name), _with_revision(worker, both), workers),
    ]


def revision(deployment: Object) -> str:
    """The 10 hexadecimal digits that name what a Deployment's pods run.

    Raises:
        KeyError: The Deployment is none that ``build_deployments`` made.
    """
    return str(deployment["spec"]["template"]["metadata"]["annotations"][REVISION_ANNOTATION])


def _deployment(service: AgentService, component: str, name: str, template: Object, replicas: int | None) -> Object:
    runtime = service.spec.runtime
    spec: Object = {
        "selector": {"matchLabels": selector_labels(service, component)},
        "strategy": _strategy(service),
        "progressDeadlineSeconds": runtime.rollout.progress_deadline_seconds,
        "revisionHistoryLimit": runtime.revision_history_limit,
        "template": template,
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": child_metadata(service, name, component=component),
        "spec": spec,
    }


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


def _with_revision(template: Object, revision: str) -> Object:
    metadata = template["metadata"]
    annotations = {**metadata.get("annotations", {}), REVISION_ANNOTATION: revision}
    return {**template, "metadata": {**metadata, "annotations": annotations}}
