"""A person who may write AgentServices in one namespace and nothing else, under the chart's admission policies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from dev import toolchain
from dev.api_client import ApiClient, ApiError
from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import agent_service
from tests.controlplane.operator_rbac import CHART
from tests.controlplane.test_chart_install import run

AUTHOR = "author"
BEYOND: dict[str, dict[str, Any]] = {
    "metadata": {"inheritedMetadata": {"labels": {"example.com/team": "a"}}},
    "monitoring": {"observability": {"podMonitor": {"interval": "1s"}}},
    "network": {"networkPolicy": {"allowTo": [{}]}},
    "pods": {"runtime": {"podLabels": {"app": "payments"}}},
    "routes": {"exposure": {"ingress": {"hosts": ["agents.example.com"]}}},
    "service": {"exposure": {"service": {"type": "LoadBalancer"}}},
    "service-account": {"runtime": {"serviceAccount": {"name": "cloud"}}},
    "volume": {"state": {"backend": "Volume", "volume": {"size": "1Gi"}}},
}
"""What each policy refuses to them, by the policy's name."""


@contextmanager
def author_of(cluster: Cluster, namespace: str) -> Iterator[ApiClient]:
    """The API as a person who may write AgentServices only, with the chart's policies in force for the namespace."""
    helm = toolchain.ensure("helm4")["helm4"]
    options = (f"--set=watchNamespaces={{{namespace}}}", "--show-only=templates/admission/*.yaml")
    policies = run(cluster, helm, "template", namespace, CHART, f"--namespace={namespace}", *options)
    role = {
        "apiGroups": ["agentservice.dev"],
        "resources": ["agentservices"],
        "verbs": ["create", "get", "patch", "update"],
    }
    with applied(cluster, policies), granted(cluster, namespace, "agents", role):
        api = cluster.api.as_user(AUTHOR)
        for name, spec in BEYOND.items():
            beyond = agent_service(namespace, "probe", **spec)
            says = f"the policy {name} is not in force yet"
            wait_until(partial(refusal, api, beyond), deadline=30, describe=says)
        yield api


def refusal(api: ApiClient, body: dict[str, Any]) -> str | None:
    """What the API server says against a dry run of an apply; None where it agrees."""
    try:
        api.apply(body, force=True, dryRun="All")
    except ApiError as error:
        return str(error)
    return None


@contextmanager
def granted(cluster: Cluster, namespace: str, name: str, rule: dict[str, Any]) -> Iterator[None]:
    """A Role with one rule, bound to the author, from when the API server acts on it."""
    meta = {"name": f"author-{name}", "namespace": namespace}
    api = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": [rule]}
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": api, "kind": "Role", "name": meta["name"]},
        "subjects": [{"kind": "User", "name": AUTHOR, "apiGroup": api}],
    }
    attributes = {"namespace": namespace}
    for attribute, of in {"group": "apiGroups", "resource": "resources", "verb": "verbs"}.items():
        attributes[attribute] = rule[of][0]
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {"user": AUTHOR, "resourceAttributes": attributes},
    }
    with applied(cluster, json.dumps({"apiVersion": "v1", "kind": "List", "items": [role, binding]})):
        # The authorizer reads Roles and bindings from caches that follow a moment later.
        wait_until(
            lambda: cluster.api.create(review)["status"]["allowed"],
            deadline=30,
            describe=lambda: f"{AUTHOR} does not have the rights of {meta['name']} yet",
        )
        yield


@contextmanager
def applied(cluster: Cluster, manifests: str) -> Iterator[None]:
    """Objects that are there for a while."""
    cluster.kubectl("apply", "-f", "-", input=manifests)
    try:
        yield
    finally:
        cluster.kubectl("delete", "--wait=false", "-f", "-", input=manifests)
