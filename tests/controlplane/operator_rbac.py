"""The RBAC under which tests run the operator: what the chart renders, and nothing else of the chart."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import yaml

from dev import toolchain
from dev.cluster import Cluster

CHART = Path(__file__).parent.parent.parent / "charts" / "agentservice-operator"
RELEASE = "agentservice-operator"
SERVICE_ACCOUNT = LEASE = RELEASE
"""The chart names both after the release."""
_KINDS = frozenset({"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})


def install(cluster: Cluster, home: str, watched: Sequence[str]) -> None:
    """Make the operator's ServiceAccount in `home`, with its rights in the `watched` namespaces; none: in all."""
    helm = toolchain.ensure("helm3")["helm3"]
    version = cluster.api.get("/version")["gitVersion"]
    where = ("--set", f"watchNamespaces={{{','.join(watched)}}}") if watched else ()
    command = [helm, "template", RELEASE, CHART, "--namespace", home, "--kube-version", version, *where]
    rendered = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    for item in yaml.safe_load_all(rendered):
        if item and item["kind"] in _KINDS:
            cluster.api.apply(item, force=True)
