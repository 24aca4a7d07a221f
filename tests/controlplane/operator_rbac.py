"""The RBAC under which tests run the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentservice_operator.engine.kinds import CHILDREN, SECRET

if TYPE_CHECKING:
    from dev.cluster import Cluster

SERVICE_ACCOUNT = "agentservice-operator"


def install(cluster: Cluster, namespace: str) -> None:
    """Make the ServiceAccount and what it may do in `namespace`, where they are not there yet."""
    for item in _objects(namespace):
        cluster.api.apply(item, force=True)


def _objects(namespace: str) -> list[dict[str, Any]]:
    metadata = {"name": SERVICE_ACCOUNT, "namespace": namespace}
    all_verbs = ["get", "list", "watch", "create", "patch", "delete"]
    rules = [
        _rule("agentservice.dev", "agentservices", ["get", "list", "watch"]),
        _rule("agentservice.dev", "agentservices/status", ["patch"]),
        _rule("", "secrets", ["get", "create", "patch", "delete"]),
        _rule("", "pods", ["list", "watch"]),
        _rule("apps", "replicasets", ["list"]),
        _rule("coordination.k8s.io", "leases", ["get", "create", "update"]),
        *(_rule(kind.group, kind.plural, all_verbs) for kind in CHILDREN if kind is not SECRET),
    ]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {**rbac, "kind": "Role", "rules": rules},
        {
            **rbac,
            "kind": "RoleBinding",
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": SERVICE_ACCOUNT},
            "subjects": [{"kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": namespace}],
        },
    ]


def _rule(group: str, resource: str, verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": verbs}
