"""The RBAC under which tests run the operator: what the chart renders, and nothing else of the chart."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dev import toolchain

if TYPE_CHECKING:
    from dev.cluster import Cluster

CHART = Path(__file__).parent.parent.parent / "charts" / "agentservice-operator"
RELEASE = "agentservice-operator"
SERVICE_ACCOUNT = LEASE = RELEASE
"""The chart names both after the release."""
_KINDS = frozenset({"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})
_PLACE = "place-of-the-release"


def install(cluster: Cluster, namespace: str, *, clusterwide: bool = False) -> None:
    """Make the operator's ServiceAccount in `namespace`, with its rights there or in the whole cluster."""
    version = cluster.api.get("/version")["gitVersion"]
    for item in yaml.safe_load_all(_rendered(version, clusterwide=clusterwide).replace(_PLACE, namespace)):
        if item and item["kind"] in _KINDS:
            cluster.api.apply(item, force=True)


@functools.cache
def _rendered(kubernetes: str, *, clusterwide: bool) -> str:
    helm = toolchain.ensure("helm3")["helm3"]
    where = () if clusterwide else ("--set", f"watchNamespaces={{{_PLACE}}}")
    command = [helm, "template", RELEASE, CHART, "--namespace", _PLACE, "--kube-version", kubernetes, *where]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
