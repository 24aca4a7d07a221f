"""The operators of the installation: how many there are, and when the last of those before is gone."""

from __future__ import annotations

from dev.cluster import Cluster
from dev.process import wait_until
from dev.release import NAMESPACE

OPERATOR = "deployment/agentservice-operator"
HERE = f"--namespace={NAMESPACE}"
_SELECTOR = "app.kubernetes.io/name=agentservice-operator"
_ROLLOUT_SECONDS = 120


def operator_count(cluster: Cluster) -> int:
    """How many there should be."""
    return int(cluster.kubectl("get", OPERATOR, HERE, "--output=jsonpath={.spec.replicas}"))


def scale_operator(cluster: Cluster, count: int) -> None:
    """Have that many operators, and no more on their way out."""
    cluster.kubectl("scale", OPERATOR, HERE, f"--replicas={count}")
    wait_rolled_out(cluster)


def wait_rolled_out(cluster: Cluster) -> None:
    """Wait until all operators are of the newest template; one that is told to end may still be at work before."""
    timeout = f"--timeout={_ROLLOUT_SECONDS}s"
    cluster.kubectl("rollout", "status", OPERATOR, HERE, timeout, timeout=_ROLLOUT_SECONDS + 10)
    count, pods = operator_count(cluster), cluster.api.path("v1", "Pod", namespace=NAMESPACE)
    wait_until(
        lambda: len(cluster.api.list(pods, labelSelector=_SELECTOR)) == count,
        deadline=60,
        describe=lambda: cluster.kubectl("get", "pods", HERE),
        interval=0.3,
    )
