"""The template of the pods: of servers, which answer callers, and of workers, which do tasks."""

from __future__ import annotations

from typing import Any

from agent_runtime.config import (
    ADMIN_PORT,
    API_KEYS_DIRECTORY,
    CONFIG_PATH,
    CREDENTIALS_DIRECTORY,
    SERVING_PORT,
    STATE_PATH_VOLUME,
)
from agentservice_operator.api.v1alpha1.types import AgentService, EnvVar, ResourceRequirements
from agentservice_operator.api.v1alpha1.well_known import REVISION_ANNOTATION, SERVER, TRUST_BUNDLE_ANNOTATION, WORKER
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.defaults import AgentDefaults, Proxy
from agentservice_operator.builders.drain import drain
from agentservice_operator.builders.hashing import short_hash
from agentservice_operator.builders.labels import Object, common_labels, selector_labels, sorted_map
from agentservice_operator.builders.names import LONGEST, data_claim
from agentservice_operator.builders.proxy import proxy_variables
from agentservice_operator.builders.quantities import canonical_resources
from agentservice_operator.builders.raw import as_stored
from agentservice_operator.builders.references import api_keys_secret, mounted_secrets
from agentservice_operator.builders.service import SERVING_PORT_NAME
from agentservice_operator.builders.trust_bundle import (
    annotated_trust_bundle,
    trust_bundle_mount,
    trust_bundle_volume,
)

CONTAINER_NAME = "runtime"
REVISION_VARIABLE = "AGENTSERVICE_REVISION"
ADMIN_PORT_NAME = "admin"
WORKER_COMMAND = "worker"
"""Argument of the image's entry point; without one it serves."""
DEFAULT_REQUESTS = {"cpu": "100m", "memory": "192Mi"}
DEFAULT_LIMITS = {"memory": "512Mi"}
SCRATCH_SIZE = "128Mi"
IMAGE_GROUP = 65532
"""Of the user in the runtime image."""


def pod_template(service: AgentService, context: BuildContext, component: str, *, config_map: str) -> Object:
    """The template of a component's pods, without the revision, which is made of it.

    Args:
        service: The owner.
        context: Install-wide defaults.
        component: ``SERVER`` or ``WORKER``.
        config_map: Name of the ConfigMap with the runtime's configuration.
    """
    runtime, phases = service.spec.runtime, drain(service)
    credentials = _credentials(service)
    metadata: Object = {"labels": sorted_map({**runtime.pod_labels, **common_labels(service, component)})}
    annotations = dict(runtime.pod_annotations)
    if digest := annotated_trust_bundle(service, context):
        annotations[TRUST_BUNDLE_ANNOTATION] = digest
    if annotations:
        metadata["annotations"] = sorted_map(annotations)
    return {
        "metadata": metadata,
        "spec": {
            "serviceAccountName": runtime.service_account.name or service.metadata.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _security_context(service, context.defaults),
            "terminationGracePeriodSeconds": phases.grace if component == SERVER else phases.worker_grace,
            "containers": [_container(service, context, component, credentials)],
            "volumes": _volumes(service, component, config_map, credentials),
            **_pull_secrets(service, context.defaults),
            **_scheduling(service, context.defaults, component),
        },
    }


def on_volume(service: AgentService) -> bool:
    """Whether the pod, the only one then, keeps its state on a volume."""
    return service.spec.state.backend == "Volume"


def _security_context(service: AgentService, defaults: AgentDefaults) -> Object:
    # No runAsUser: the image says its user, and OpenShift gives each namespace its own.
    restricted: Object = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    if on_volume(service) and defaults.volume_group == "Image":
        # A new volume belongs to root. The mode of every file is looked at only if that of the first is wrong.
        return {**restricted, "fsGroup": IMAGE_GROUP, "fsGroupChangePolicy": "OnRootMismatch"}
    return restricted


def _container(
    service: AgentService, context: BuildContext, component: str, credentials: dict[str, list[str]]
) -> Object:
    runtime = service.spec.runtime
    container: Object = {
        "name": CONTAINER_NAME,
        "image": runtime.image or context.runtime_image,
        "imagePullPolicy": runtime.image_pull_policy,
        "ports": _ports(component),
        "env": _environment(runtime.env, context.defaults.proxy),
        "resources": _resources(runtime.resources or context.defaults.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "startupProbe": _probe("/startupz", period=1, timeout=1, failures=120),
        "livenessProbe": _probe("/livez", period=10, timeout=5, failures=3),
        "readinessProbe": _probe("/readyz", period=3, timeout=2, failures=2),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "config", "mountPath": CONFIG_PATH.rpartition("/")[0], "readOnly": True},
            # Those of callers, of whom a worker knows nothing.
            *([{"name": "api-keys", "mountPath": API_KEYS_DIRECTORY, "readOnly": True}] if component == SERVER else []),
            *(
                {
                    "name": _credentials_volume(secret),
                    "mountPath": f"{CREDENTIALS_DIRECTORY}/{secret}",
                    "readOnly": True,
                }
                for secret in credentials
            ),
            *trust_bundle_mount(service),
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own emptyDir
            *([{"name": "data", "mountPath": STATE_PATH_VOLUME.rpartition("/")[0]}] if on_volume(service) else []),
        ],
    }
    if component == WORKER:
        container["args"] = [WORKER_COMMAND]
    # A sleep of 0 seconds needs a feature gate on the oldest supported Kubernetes.
    elif seconds := drain(service).sleep:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": seconds}}}
    return container


def _ports(component: str) -> list[Object]:
    admin = {"name": ADMIN_PORT_NAME, "containerPort": ADMIN_PORT, "protocol": "TCP"}
    if component == WORKER:
        return [admin]
    return [{"name": SERVING_PORT_NAME, "containerPort": SERVING_PORT, "protocol": "TCP"}, admin]


def _environment(variables: list[EnvVar], proxy: Proxy | None) -> list[Object]:
    """The spec's variables sorted by name, then the installation's, then ours."""
    revision_source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{REVISION_ANNOTATION}']"}}
    return [
        *(_variable(variable) for variable in sorted(variables, key=lambda variable: variable.name)),
        *(
            {"name": name, "value": value}
            for name, value in proxy_variables(proxy, {variable.name for variable in variables}).items()
        ),
        {"name": REVISION_VARIABLE, "valueFrom": revision_source},
    ]


def _variable(variable: EnvVar) -> Object:
    source = variable.value_from
    if source and source.secret_key_ref:
        reference, kind = source.secret_key_ref.model_dump(), "secretKeyRef"
    elif source and source.config_map_key_ref:
        reference, kind = source.config_map_key_ref.model_dump(), "configMapKeyRef"
    else:
        # Literally, so escaped: what $(OTHER) gives depends on the order of the list, which means nothing.
        return {"name": variable.name, "value": (variable.value or "").replace("$", "$$")}
    return {"name": variable.name, "valueFrom": {kind: reference}}


def _resources(resources: ResourceRequirements | None) -> Object:
    if resources is None:
        return {"requests": DEFAULT_REQUESTS, "limits": DEFAULT_LIMITS}
    parts = {"requests": resources.requests, "limits": resources.limits}
    return {part: canonical_resources(quantities) for part, quantities in parts.items() if quantities}


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Object:
    return {
        "httpGet": {"path": path, "port": ADMIN_PORT_NAME},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def _credentials(service: AgentService) -> dict[str, list[str]]:
    """The keys to mount, by Secret, both sorted."""
    secrets: dict[str, list[str]] = {}
    for secret, key in sorted({(reference.name, reference.key) for reference, _ in mounted_secrets(service)}):
        secrets.setdefault(secret, []).append(key)
    return secrets


def _credentials_volume(secret: str) -> str:
    """A volume's name is a DNS label; a Secret's may be longer and have dots."""
    name = f"credentials-{secret}"
    if len(name) <= LONGEST and "." not in name:
        return name
    mark = f"-{short_hash(secret)}"
    return name.replace(".", "-")[: LONGEST - len(mark)].rstrip("-") + mark


def _volumes(service: AgentService, component: str, config_map: str, credentials: dict[str, list[str]]) -> list[Object]:
    return [
        {"name": "config", "configMap": {"name": config_map}},
        *([{"name": "api-keys", "secret": {"secretName": api_keys_secret(service)}}] if component == SERVER else []),
        *(
            {
                "name": _credentials_volume(secret),
                "secret": {"secretName": secret, "items": [{"key": key, "path": key} for key in keys]},
            }
            for secret, keys in credentials.items()
        ),
        *trust_bundle_volume(service),
        {"name": "tmp", "emptyDir": {"sizeLimit": SCRATCH_SIZE}},
        *(
            [{"name": "data", "persistentVolumeClaim": {"claimName": data_claim(service.metadata.name)}}]
            if on_volume(service)
            else []
        ),
    ]


def _pull_secrets(service: AgentService, defaults: AgentDefaults) -> Object:
    references = service.spec.runtime.image_pull_secrets or defaults.image_pull_secrets
    names = sorted(reference.name for reference in references)
    return {"imagePullSecrets": [{"name": name} for name in names]} if names else {}


def _scheduling(service: AgentService, defaults: AgentDefaults, component: str) -> Object:
    """What the spec says about nodes, or else the installation.

    Without topologySpreadConstraints the pod has none either: the scheduler's own default spreads the pods of a Service
    softly over nodes and zones, and any constraint of ours would switch that off.
    """
    runtime = service.spec.runtime
    own = selector_labels(service, component)
    constraints = [_constraint(own, constraint) for constraint in runtime.topology_spread_constraints]
    parts: dict[str, Any] = {
        "nodeSelector": sorted_map(runtime.node_selector or defaults.node_selector),
        "tolerations": as_stored(runtime.tolerations or defaults.tolerations),
        "affinity": as_stored(runtime.affinity),
        "topologySpreadConstraints": sorted(constraints, key=_constraint_key),
        "priorityClassName": runtime.priority_class_name or defaults.priority_class_name,
    }
    return {field: value for field, value in parts.items() if value}


def _constraint(own: dict[str, str], constraint: Object) -> Object:
    """One without a labelSelector would count no pod at all, so it counts those of this Deployment.

    Its sets are sorted: field managers merge them into an order that nobody chose, and that must not roll pods.
    """
    parts: Object = {"labelSelector": {"matchLabels": own}, **as_stored(constraint)}
    if keys := parts.get("matchLabelKeys"):
        parts["matchLabelKeys"] = sorted(keys)
    for requirement in parts["labelSelector"].get("matchExpressions", ()):
        if values := requirement.get("values"):
            requirement["values"] = sorted(values)
    return parts


def _constraint_key(constraint: Object) -> tuple[str, str]:
    return constraint["topologyKey"], constraint["whenUnsatisfiable"]
