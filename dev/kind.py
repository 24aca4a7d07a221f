"""A cluster with a real kubelet: an existing one that E2E_CONTEXT names, else one that kind makes in containers."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from dev import toolchain
from dev.api_client import ApiError
from dev.cluster import Cluster
from dev.engine import Engine
from dev.node_image import ensure_node_image
from dev.process import wait_until
from dev.progress import step

_STOCK_NODE_IMAGE = "kindest/node:v1.34.0"  # of the pinned kind release
_START_DEADLINE = 180.0  # seconds until a node is Ready; 25 s on an idle machine


def kind_cluster(engine: Engine, name: str, *, nodes: int = 1) -> Cluster:
    """Have a kind cluster whose nodes are Ready; one that is there already is used as it is.

    Args:
        engine: where its nodes run.
        name: the cluster's name; kubectl calls its context kind-NAME.
        nodes: how many, all of which take pods; the first of them is the control plane.

    Raises:
        RuntimeError: kind failed; with the end of its output.
        DeadlineError: a node does not get Ready.
    """
    cluster = Cluster(name=name, kubeconfig=_kubeconfig(name), kubectl_path=toolchain.ensure("kubectl")["kubectl"])
    if name in kind_clusters(engine):
        # kind writes the kubeconfig last: without it, an earlier run was interrupted and the cluster is half made.
        if cluster.kubeconfig.exists():
            _wake(engine, cluster)
            return cluster
        delete_kind_cluster(engine, name)
    image = _STOCK_NODE_IMAGE if engine.can_pull(_STOCK_NODE_IMAGE) else ensure_node_image(engine)
    cluster.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    with step(f"creating the kind cluster {name}"):
        arguments = [f"--name={name}", f"--image={image}", f"--kubeconfig={cluster.kubeconfig}", "--config=-"]
        _kind(engine, "create", "cluster", *arguments, data=json.dumps(_layout(nodes)))
        _wait_until_ready(cluster)
    return cluster


def existing_cluster(context: str) -> Cluster:
    """The cluster that a context of the user's kubeconfig names; nothing is created, and nothing deleted with it.

    Raises:
        RuntimeError: there is no such context.
    """
    kubectl = Path(shutil.which("kubectl") or toolchain.ensure("kubectl")["kubectl"])
    done = subprocess.run(
        [kubectl, "config", "view", "--raw", "--minify", "--flatten", f"--context={context}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"E2E_CONTEXT={context}: {done.stderr.strip()}")
    kubeconfig = _kubeconfig(context)
    kubeconfig.parent.mkdir(parents=True, exist_ok=True)
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(done.stdout)
    return Cluster(name=context.removeprefix("kind-"), kubeconfig=kubeconfig, kubectl_path=kubectl)


def delete_kind_cluster(engine: Engine, name: str) -> None:
    """Delete a kind cluster and its kubeconfig; no error where there is none."""
    kubeconfig = _kubeconfig(name)
    _kind(engine, "delete", "cluster", f"--name={name}", f"--kubeconfig={kubeconfig}")
    shutil.rmtree(kubeconfig.parent, ignore_errors=True)


def kind_clusters(engine: Engine) -> list[str]:
    """The names of all kind clusters in the engine."""
    return _kind(engine, "get", "clusters").split()


def load_images(engine: Engine, cluster: Cluster, *images: str) -> None:
    """Copy images from the engine to the nodes of a kind cluster; a node that has them already is left alone.

    Any other cluster gets nothing: it must have them, or pull them by itself.
    """
    if cluster.name not in kind_clusters(engine):
        return
    with step(f"loading {', '.join(images)} into {cluster.name}"):
        _kind(engine, "load", "docker-image", f"--name={cluster.name}", *images)


def _layout(nodes: int) -> dict[str, Any]:
    """What kind is told about the nodes: beside others it would keep the control plane free of pods."""
    untainted = {"kind": "InitConfiguration", "nodeRegistration": {"taints": []}}
    first = {"role": "control-plane", "kubeadmConfigPatches": [json.dumps(untainted)]}
    workers = [{"role": "worker"}] * (nodes - 1)
    return {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [first, *workers]}


def _wake(engine: Engine, cluster: Cluster) -> None:
    """Start the nodes of a cluster that was stopped (by a restart of the engine), and wait until it serves."""
    _kind(engine, "export", "kubeconfig", f"--name={cluster.name}", f"--kubeconfig={cluster.kubeconfig}")
    nodes = _kind(engine, "get", "nodes", f"--name={cluster.name}").split()
    engine.docker("start", *nodes)
    _wait_until_ready(cluster)


def _wait_until_ready(cluster: Cluster) -> None:
    wait_until(
        lambda: _is_ready(cluster),
        deadline=_START_DEADLINE,
        describe=lambda: (
            f"the nodes of the kind cluster {cluster.name} are not Ready:\n"
            + cluster.kubectl("get", "nodes,pods", "--all-namespaces", "--output=wide")
        ),
        interval=0.3,
    )


def _is_ready(cluster: Cluster) -> bool:
    try:
        nodes = cluster.api.request("GET", "/api/v1/nodes")["items"]
    except (OSError, ApiError):
        return False
    conditions = [condition for node in nodes for condition in node["status"]["conditions"]]
    ready = [condition["status"] for condition in conditions if condition["type"] == "Ready"]
    return bool(ready) and set(ready) == {"True"}


def _kubeconfig(name: str) -> Path:
    return toolchain.cache_folder() / "clusters" / name / "kubeconfig"


def _kind(engine: Engine, *arguments: str, data: str = "") -> str:
    done = subprocess.run(
        [toolchain.ensure("kind")["kind"], *arguments],
        input=data,
        capture_output=True,
        text=True,
        check=False,
        env=engine.environment | {"KIND_EXPERIMENTAL_PROVIDER": "docker"},
    )
    if done.returncode:
        raise RuntimeError(f"kind {' '.join(arguments)}: {done.stderr.strip()[-3000:]}")
    return done.stdout
