"""The operator installed in a cluster by its chart, and what to look at when something there goes wrong."""

from __future__ import annotations

import os
import subprocess

from dev import toolchain
from dev.cluster import Cluster, KubectlError
from dev.images import REPOSITORY, Images
from dev.progress import step

NAMESPACE = "agentservice-system"
_NAME = "agentservice-operator"
_CHART = REPOSITORY / "charts" / "agentservice-operator"


class InstallError(RuntimeError):
    """The chart does not install; the message holds what Helm said."""


def install_operator(cluster: Cluster, images: Images, *values: str) -> None:
    """Install or upgrade the operator and wait until it is ready.

    Args:
        cluster: where; it must have the images, or be able to pull them.
        images: what the operator and the agents run.
        values: more values of the chart, as in "replicas=1".

    Raises:
        InstallError: it does not get ready within three minutes.
    """
    chosen = {}
    for prefix, image in (("image", images.operator), ("runtime.image", images.runtime)):
        chosen[f"{prefix}.repository"], _, chosen[f"{prefix}.tag"] = image.rpartition(":")
    options = [f"--set-string={name}={value}" for name, value in chosen.items()] + [
        f"--set={value}" for value in values
    ]
    waiting = ["--create-namespace", "--wait", "--timeout=3m"]
    toolchain.ensure("helm4")  # its build, where there is one, is a step of its own
    with step("installing the operator"):
        _helm(cluster, "upgrade", "--install", _NAME, str(_CHART), *waiting, *options)


def uninstall_operator(cluster: Cluster) -> None:
    """Remove the operator; the CustomResourceDefinition, and with it every AgentService, stays.

    Raises:
        InstallError: Helm could not.
    """
    _helm(cluster, "uninstall", _NAME, "--ignore-not-found", "--wait")


def accept_operator(cluster: Cluster) -> str:
    """Run the chart's own test of the installation; returns what it said.

    Raises:
        InstallError: it failed; with its log.
    """
    return _helm(cluster, "test", _NAME, "--logs", "--timeout=5m")


def report(cluster: Cluster, *namespaces: str) -> str:
    """Describe the state of the operator and of some namespaces, for a person who has to find out what went wrong."""
    selector = f"app.kubernetes.io/name={_NAME}"
    questions: list[tuple[str, ...]] = [
        ("logs", f"--namespace={NAMESPACE}", f"--selector={selector}", "--tail=40", "--prefix")
    ]
    for namespace in (NAMESPACE, *namespaces):
        here = f"--namespace={namespace}"
        questions += [("get", "agentservices,pods", here, "--output=wide"), ("describe", "agentservices,pods", here)]
        questions += [("get", "events", here, "--sort-by=.lastTimestamp")]
    answers = []
    for question in questions:
        try:
            answer = cluster.kubectl(*question, timeout=30)
        except (KubectlError, subprocess.TimeoutExpired) as error:
            answer = str(error)
        answers.append(f"$ kubectl {' '.join(question)}\n{answer.rstrip()}")
    return "\n\n".join(answers)


def _helm(cluster: Cluster, *arguments: str) -> str:
    done = subprocess.run(
        [toolchain.ensure("helm4")["helm4"], *arguments, f"--namespace={NAMESPACE}"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
    )
    if done.returncode:
        raise InstallError(f"helm {arguments[0]} {_NAME}: {done.stdout.strip()}\n{done.stderr.strip()}".strip())
    return done.stdout
