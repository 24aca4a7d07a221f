"""The definition on a real API server: what it takes, what it fills in, how kubectl shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from agentservice_operator.api.crdgen import MAX_BYTES
from agentservice_operator.api.v1alpha1.parse import parse

from dev.api_client import ApiError
from dev.cluster import Cluster, KubectlError
from tests.unit.api.refusals import ASSISTANT, CLAUDE, ECHO, changed, smallest

pytestmark = pytest.mark.usefixtures("crd")

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
GOLDEN = Path(__file__).parent / "golden"
CRD = ROOT / "crds" / "agentservice.dev_agentservices.yaml"

DEFAULTS = {
    "paused": False,
    "models": [{**ECHO, "maxTokens": 4096, "firstTokenTimeoutSeconds": 20, "retries": 1}],
    "agents": [ASSISTANT | {"maxTurns": 8}],
    "requestTimeoutSeconds": 120,
    "maxHistoryTokens": 100_000,
    "runtime": {
        "imagePullPolicy": "IfNotPresent",
        "maxConcurrentRequests": 256,
        "maxQueuedRequests": 256,
        "lameDuckSeconds": 5,
        "rollout": {"maxSurge": 1, "maxUnavailable": 0, "progressDeadlineSeconds": 300},
        "revisionHistoryLimit": 3,
    },
    "disruption": {"maxUnavailable": 1},
    "state": {"backend": "Ephemeral", "retentionDays": 30},
    "tasks": {"workers": 0, "concurrency": 10, "timeoutSeconds": 3600, "resultTTLSeconds": 86400},
    "access": {"apiKeys": {"source": "Generated", "rotation": 1}},
    "exposure": {"service": {"type": "ClusterIP", "port": 80}, "apiDocs": {"mode": "Disabled"}},
    "networkPolicy": {"mode": "Enabled"},
    "observability": {"logLevel": "Info", "podMonitor": {"mode": "Auto"}, "prometheusRule": {"mode": "Auto"}},
}
"""What the API server writes into the smallest spec: all defaults of the schema. The others are those of rendering."""


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_every_example_is_accepted_without_a_warning(cluster: Cluster, namespace: str, file: Path) -> None:
    applied = cluster.kubectl(
        "apply", "--server-side", "--validate=strict", "--warnings-as-errors", "-n", namespace, "-f", str(file)
    )

    assert "agentservice.agentservice.dev/" in applied


def test_defaults_are_those_of_the_contract(cluster: Cluster, namespace: str) -> None:
    created = cluster.api.create(changed({"metadata.namespace": namespace}))

    assert created["spec"] == DEFAULTS
    assert created["status"] == {"observedGeneration": -1}


def test_defaults_stay_away_from_what_was_not_asked_for(cluster: Cluster) -> None:
    spec = {"spec.models.0": CLAUDE, "spec.autoscaling.maxReplicas": 3, "spec.runtime.resources.limits": {"cpu": 1}}
    created = cluster.api.create(changed(spec), dryRun="All")

    assert created["spec"]["models"][0]["anthropic"] == CLAUDE["anthropic"]
    assert created["spec"]["autoscaling"] == {"minReplicas": 1, "maxReplicas": 3}
    assert created["spec"]["runtime"]["resources"] == {"limits": {"cpu": 1}}


def test_the_parser_fills_in_the_same_defaults(cluster: Cluster) -> None:
    created = cluster.api.create(smallest(), dryRun="All")

    assert parse(smallest()).spec == parse(created).spec


def test_an_unknown_field_is_refused_by_strict_clients_and_dropped_otherwise(cluster: Cluster) -> None:
    typo = changed({"spec.agents.0.sytemPrompt": "x"})

    with pytest.raises(ApiError, match=r'unknown field "spec\.agents\[0\]\.sytemPrompt"'):
        cluster.api.create(typo, dryRun="All", fieldValidation="Strict")
    assert cluster.api.create(typo, dryRun="All")["spec"]["agents"] == [ASSISTANT | {"maxTurns": 8}]


def test_the_definition_is_small_enough_for_a_client_side_apply() -> None:
    definition = yaml.safe_load(CRD.read_text())

    assert len(json.dumps(definition).encode()) < MAX_BYTES


def test_managers_of_different_list_items_do_not_overwrite_each_other(cluster: Cluster, namespace: str) -> None:
    both = changed({"metadata.namespace": namespace, "spec.defaultAgent": "assistant", "spec.defaultModel": "main"})
    cluster.api.apply(both, manager="platform")
    addition = smallest() | {
        "metadata": {"name": "hello", "namespace": namespace},
        "spec": {
            "models": [ECHO | {"name": "small"}],
            "agents": [ASSISTANT | {"name": "clerk"}],
            "runtime": {"env": [{"name": "TZ", "value": "UTC"}]},
        },
    }
    merged = cluster.api.apply(addition, manager="team")

    assert {model["name"] for model in merged["spec"]["models"]} == {"main", "small"}
    assert {agent["name"] for agent in merged["spec"]["agents"]} == {"assistant", "clerk"}

    left = cluster.api.apply(both, manager="platform")
    assert {agent["name"] for agent in left["spec"]["agents"]} == {"assistant", "clerk"}


def test_scale_sets_replicas(cluster: Cluster, namespace: str) -> None:
    cluster.api.create(changed({"metadata.namespace": namespace}))

    cluster.kubectl("scale", "agsvc/hello", "--replicas=3", "-n", namespace)

    path = f"/apis/agentservice.dev/v1alpha1/namespaces/{namespace}/agentservices/hello"
    assert cluster.api.get(path)["spec"]["replicas"] == 3
    assert cluster.api.get(f"{path}/scale")["spec"]["replicas"] == 3


def test_scale_of_an_autoscaled_one_is_refused_with_a_sentence(cluster: Cluster, namespace: str) -> None:
    cluster.api.create(changed({"metadata.namespace": namespace, "spec.autoscaling.maxReplicas": 5}))

    with pytest.raises(KubectlError, match="replicas and autoscaling exclude each other"):
        cluster.kubectl("scale", "agsvc/hello", "--replicas=3", "-n", namespace)


def test_only_the_status_subresource_writes_status(cluster: Cluster, namespace: str) -> None:
    created = cluster.api.create(changed({"metadata.namespace": namespace, "status.replicas": 7}))
    assert created["status"] == {"observedGeneration": -1}

    path = f"/apis/agentservice.dev/v1alpha1/namespaces/{namespace}/agentservices/hello"
    patched = cluster.api.patch(f"{path}/status", {"spec": {"paused": True}, "status": {"observedGeneration": 1}})

    assert patched["status"] == {"observedGeneration": 1}
    assert patched["spec"]["paused"] is False
    assert patched["metadata"]["generation"] == 1


@pytest.mark.parametrize(("path", "golden"), [("spec", "explain-spec.txt"), ("spec.models", "explain-models.txt")])
def test_api_5_kubectl_explains_the_api(cluster: Cluster, path: str, golden: str) -> None:
    assert cluster.kubectl("explain", f"agentservice.{path}") == (GOLDEN / golden).read_text()


@pytest.mark.parametrize("output", ["default", "wide"])
def test_api_5_kubectl_lists_what_matters(cluster: Cluster, namespace: str, output: str) -> None:
    service = cluster.api.create(changed({"metadata.namespace": namespace, "spec.models.0": CLAUDE}))
    cluster.api.patch(f"{cluster.api.path_of(service)}/status", {"status": ready_status()})

    options = [] if output == "default" else ["-o", output]
    listed = cluster.kubectl("get", "agsvc", "-n", namespace, *options)

    assert without_age(listed) == (GOLDEN / f"get-{output}.txt").read_text()


def ready_status() -> dict[str, Any]:
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Available",
        "message": "2 of 2 pods serve.",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
    address = {"url": "http://hello.team-a.svc"}
    counts = {"replicas": 2, "readyReplicas": 2, "observedGeneration": 1}
    return {**counts, "address": address, "model": "claude", "url": "https://agents.example.com", "conditions": [ready]}


def without_age(listed: str) -> str:
    """The table without its last column, which tells the time."""
    return "".join(f"{line.rsplit(maxsplit=1)[0].rstrip()}\n" for line in listed.splitlines())
