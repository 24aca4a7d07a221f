"""The chart on a real API server: everything in it is accepted, and the commands in its notes work."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from dev import toolchain
from dev.cluster import Cluster
from tests.controlplane.operator_process import OperatorProcess
from tests.controlplane.operator_rbac import CHART

EVERYTHING = (
    "--set-json=networkPolicy.apiServerPorts=[6443]",
    "--set=commonLabels.team=platform",
    *(f"--set={part}.enabled=true" for part in ("podMonitor", "prometheusRule", "dashboards")),
)


def run(cluster: Cluster, *command: str | Path, text: str | None = None) -> str:
    """Run a program as the cluster's administrator and return what it prints."""
    programs = f"{cluster.kubectl_path.parent}:{os.environ['PATH']}"
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "PATH": programs}
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest) -> Path:
    """One of the supported Helm versions."""
    return toolchain.ensure(request.param)[request.param]


@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize("namespaced", [False, True], ids=["clusterwide", "namespaced"])
def test_the_server_accepts_every_object_strictly(
    cluster: Cluster, namespace: str, helm: Path, *, namespaced: bool
) -> None:
    options = [f"--namespace={namespace}", *EVERYTHING, "--kube-version=1.34.0"]
    if namespaced:
        options.append(f"--set=watchNamespaces={{{namespace}}}")
    # In a dry run the ServiceAccount that the test's pod needs is not there.
    rendered = run(cluster, helm, "template", namespace, CHART, "--skip-tests", *options)

    checks = ("--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts")
    accepted = run(cluster, "kubectl", "apply", *checks, "-f", "-", text=rendered)

    assert len(accepted.splitlines()) == len(re.findall(r"^kind:", rendered, re.MULTILINE))


def test_the_commands_in_the_notes_make_an_agent(cluster: Cluster, operator: OperatorProcess, helm: Path) -> None:
    where = f"--namespace={operator.namespace}"  # where it does the work: the pods of the release are make-believe
    watch = f"--set=watchNamespaces={{{operator.namespace}}}"
    release = f"{helm.name}-notes"  # the admission policies are cluster-scoped, and both Helms share one plane
    notes = run(cluster, helm, "install", release, CHART, where, watch, "--set=crds.install=false")
    indented = re.findall(r"^  (.*)$", notes.partition("NOTES:\n")[2], flags=re.MULTILINE)
    # Nothing listens in make-believe pods; the end-to-end tier talks to real ones.
    commands = [line for line in indented if not line.startswith(("kubectl port-forward", "curl "))]
    script = "\n".join([*commands, 'echo "key $KEY"', ""])

    printed = run(cluster, "bash", "-euo", "pipefail", text=script)

    assert "successfully rolled out" in printed
    assert "agentservice.agentservice.dev/hello condition met" in printed
    assert re.search(r"^key \S{20,}$", printed, re.MULTILINE)


def test_an_upgrade_with_the_same_values_changes_nothing_and_uninstall_removes_all(
    cluster: Cluster, namespace: str, helm: Path
) -> None:
    name = f"{helm.name}-twice"
    release = (CHART, f"--namespace={namespace}", "--set=crds.install=false", f"--set=watchNamespaces={{{namespace}}}")
    run(cluster, helm, "install", name, *release, "--wait")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}-agentservice-operator"
    generation = cluster.api.get(path)["metadata"]["generation"]

    run(cluster, helm, "upgrade", name, *release, "--wait")

    assert cluster.api.get(path)["metadata"]["generation"] == generation
    run(cluster, helm, "uninstall", name, f"--namespace={namespace}", "--wait")
    assert cluster.api.find(path) is None
    assert cluster.api.list(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles") == []
