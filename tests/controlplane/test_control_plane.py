"""The control plane of the tests: it is a real one, its pods do what tests ask for, and nothing of it remains."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dev.api_client import ApiError
from dev.audit import AuditLog
from dev.cluster import Cluster
from dev.kwok_stages import PREFIX
from dev.process import wait_until

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 30  # seconds for what takes below one on an idle machine
USER = """
import signal, sys
from pathlib import Path
from dev.shared_plane import shared_control_plane
with shared_control_plane(Path(sys.argv[1])) as cluster:
    signal.signal(signal.SIGUSR1, lambda *_: print(cluster.api.get("/version")["gitVersion"], flush=True))
    print(cluster.server, flush=True)
    while True:
        signal.pause()
"""


def pod(namespace: str, name: str, **asks: str) -> dict[str, Any]:
    annotations = {f"{PREFIX}/{key.replace('_', '-')}": value for key, value in asks.items()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"containers": [{"name": "agent", "image": "example.invalid/agent:1"}]},
    }


def deployment(namespace: str, name: str, *, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod(namespace, name)["spec"]},
        },
    }


def wait_for(cluster: Cluster, path: str, predicate: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Wait until `predicate` holds for the object at `path`, and return that object."""

    def check() -> dict[str, Any] | None:
        found = cluster.api.get(path)
        return found if predicate(found) else None

    return wait_until(check, deadline=DEADLINE, describe=lambda: cluster.api.get(path).get("status"))


def waiting_reason(pod: dict[str, Any]) -> str | None:
    return next((c["state"].get("waiting", {}).get("reason") for c in pod["status"].get("containerStatuses", [])), None)


def is_ready(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def test_the_server_is_the_pinned_release(cluster: Cluster) -> None:
    assert cluster.api.get("/version")["gitVersion"] == "v1.34.4"


def test_a_deployment_gets_all_its_replicas_ready(cluster: Cluster, namespace: str) -> None:
    created = cluster.api.create(deployment(namespace, "web", replicas=3))

    found = wait_for(cluster, cluster.api.path_of(created), lambda d: d["status"].get("readyReplicas") == 3)

    assert found["status"]["availableReplicas"] == 3


def test_deleting_a_deployment_takes_its_pods_along(cluster: Cluster, namespace: str) -> None:
    created = cluster.api.create(deployment(namespace, "web", replicas=2))
    wait_for(cluster, cluster.api.path_of(created), lambda d: d["status"].get("readyReplicas") == 2)

    cluster.api.delete(cluster.api.path_of(created))

    pods = f"/api/v1/namespaces/{namespace}/pods"
    wait_until(lambda: not cluster.api.list(pods), deadline=DEADLINE, describe=lambda: cluster.api.list(pods))


def test_an_image_pull_failure_shows_until_it_is_mended(cluster: Cluster, namespace: str) -> None:
    message = 'Back-off pulling image "example.invalid/agent:1"'
    path = cluster.api.path_of(cluster.api.create(pod(namespace, "p", pod="ImagePullBackOff", message=message)))
    shown = wait_for(cluster, path, lambda p: waiting_reason(p) == "ImagePullBackOff")
    assert shown["status"]["containerStatuses"][0]["state"]["waiting"]["message"] == message
    assert not is_ready(shown)

    cluster.api.patch(path, {"metadata": {"annotations": {f"{PREFIX}/pod": None}}})

    wait_for(cluster, path, is_ready)


def test_a_crash_loop_shows_how_the_container_ended(cluster: Cluster, namespace: str) -> None:
    asked = pod(namespace, "p", pod="CrashLoopBackOff", exit_code="137", last_reason="OOMKilled", last_message="boom")

    path = cluster.api.path_of(cluster.api.create(asked))

    container = wait_for(cluster, path, waiting_reason)["status"]["containerStatuses"][0]
    ended = container["lastState"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (137, "OOMKilled", "boom")
    assert container["restartCount"] > 0


def test_a_ready_pod_can_lose_its_readiness(cluster: Cluster, namespace: str) -> None:
    path = cluster.api.path_of(cluster.api.create(pod(namespace, "p")))
    wait_for(cluster, path, is_ready)

    cluster.api.patch(path, {"metadata": {"annotations": {f"{PREFIX}/pod": "NotReady"}}})

    found = wait_for(cluster, path, lambda p: not is_ready(p))
    assert "running" in found["status"]["containerStatuses"][0]["state"]


def test_a_slow_pod_runs_before_it_is_ready(cluster: Cluster, namespace: str) -> None:
    path = cluster.api.path_of(cluster.api.create(pod(namespace, "p", ready_after="1500ms")))

    running = wait_for(cluster, path, lambda p: p["status"]["phase"] == "Running")
    assert not is_ready(running)

    wait_for(cluster, path, is_ready)


def test_a_pod_too_large_for_any_node_is_unschedulable(cluster: Cluster, namespace: str) -> None:
    large = pod(namespace, "p")
    large["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1000000"}}

    path = cluster.api.path_of(cluster.api.create(large))

    found = wait_for(cluster, path, lambda p: p["status"].get("conditions"))
    assert [c["reason"] for c in found["status"]["conditions"] if c["type"] == "PodScheduled"] == ["Unschedulable"]


def test_the_audit_log_counts_the_writes_of_each_user(cluster: Cluster, namespace: str) -> None:
    log = AuditLog.of(cluster)
    user = f"system:serviceaccount:{namespace}:default"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "default", "namespace": namespace},
        "roleRef": role,
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}],
    }
    cluster.api.create(binding)
    configmap = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}}
    somebody = cluster.api.as_user(user)

    before = log.mark()
    somebody.apply(configmap | {"data": {"a": "1"}})
    somebody.apply(configmap | {"data": {"a": "2"}}, dryRun="All")
    somebody.get(somebody.path_of(configmap))
    cluster.api.apply(configmap | {"data": {"b": "1"}})
    after = log.mark()
    somebody.delete(somebody.path_of(configmap))

    writes = log.writes(user=user, since=before, until=after)
    assert [(w.verb, w.group, w.resource, w.namespace, w.name, w.code) for w in writes] == [
        ("patch", "", "configmaps", namespace, "c", 201)
    ]
    asked = [r.verb for r in log.requests(user=user, since=before, until=after) if r.resource == "configmaps"]
    assert asked == ["patch", "patch", "get"]
    assert [w.verb for w in log.writes(user=user, since=after, until=log.mark())] == ["delete"]


def test_a_watch_gives_changes_as_they_come(cluster: Cluster, namespace: str) -> None:
    configmap = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": namespace}}
    version = cluster.api.create(configmap)["metadata"]["resourceVersion"]
    collection = cluster.api.path_of(configmap, collection=True)

    # Every new namespace also gets a ConfigMap with the authority of the API server, at some moment.
    query = {"resourceVersion": version, "fieldSelector": "metadata.name=c"}
    events = cluster.api.watch(collection, seconds=DEADLINE, **query)
    cluster.api.apply(configmap | {"data": {"a": "1"}}, force=True)
    cluster.api.delete(cluster.api.path_of(configmap))

    seen = [(event["type"], event["object"]["metadata"]["name"]) for event in itertools.islice(events, 2)]
    assert seen == [("MODIFIED", "c"), ("DELETED", "c")]


def test_a_refused_request_says_why(cluster: Cluster, namespace: str) -> None:
    stranger = cluster.api.as_user("stranger")

    with pytest.raises(ApiError, match='User "stranger" cannot list resource "pods"') as refused:
        stranger.list(f"/api/v1/namespaces/{namespace}/pods")

    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")


def test_a_service_account_kubeconfig_acts_as_that_account(cluster: Cluster, namespace: str) -> None:
    account = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    wait_until(lambda: cluster.api.find(account), deadline=DEADLINE, describe=account)

    path = cluster.service_account_kubeconfig(namespace, "default")

    whoami = cluster.kubectl("--kubeconfig", str(path), "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
    assert whoami == f"system:serviceaccount:{namespace}:default"
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda s: s.name)
def test_nothing_remains_of_a_plane_whose_owner_ended(end: signal.Signals, cluster: Cluster, tmp_path: Path) -> None:
    del cluster  # for the programs only: this test has a plane of its own
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with heeding_sigint():
        owner = subprocess.Popen(
            [sys.executable, "-m", "dev.controlplane"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
    with owner:
        assert owner.stdout is not None
        ready = any(line.startswith("export KUBECONFIG=") for line in owner.stdout)
        running = processes_of(tmp_path)
        owner.send_signal(end)
    assert ready
    assert running == {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"}

    wait_until(lambda: not processes_of(tmp_path), deadline=DEADLINE, describe=lambda: processes_of(tmp_path))
    if end is not signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []


@contextmanager
def heeding_sigint() -> Iterator[None]:
    """Start processes as a terminal does, also where these tests run in the background, which ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_shared_plane_ends_with_its_last_user(cluster: Cluster, tmp_path: Path) -> None:
    del cluster  # for the programs only: this test has a plane of its own
    command = [sys.executable, "-c", USER, str(tmp_path / "shared")]
    with (
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as first,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as second,
    ):
        assert first.stdout is not None
        assert second.stdout is not None
        server = first.stdout.readline()
        assert second.stdout.readline() == server
        assert "kube-apiserver" in processes_of(tmp_path)

        first.kill()
        first.wait()
        second.send_signal(signal.SIGUSR1)
        assert second.stdout.readline() == "v1.34.4\n"

        second.kill()

    wait_until(lambda: not processes_of(tmp_path), deadline=DEADLINE, describe=lambda: processes_of(tmp_path))


def processes_of(folder: Path) -> set[str]:
    """The names of the programs that work in `folder`."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve().is_relative_to(folder):
                found.add((process / "exe").resolve().name)
        except OSError:  # it ended while we looked
            continue
    return found
