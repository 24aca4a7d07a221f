"""At rest nothing is written: not on a label edit, a re-list, a restart, nor as time passes."""

from __future__ import annotations

import pytest
from agentservice_operator.engine.kinds import AGENT_SERVICE, CHILDREN, POD, SECRET

from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import AgentServices, condition, versions
from tests.controlplane.operator_process import OperatorProcess, said

WATCHED = {kind.plural for kind in (AGENT_SERVICE, POD, *CHILDREN) if kind is not SECRET}
RELIST_DEADLINE = 180.0
"""Seconds; a list comes every 110 at most."""
RICH = {
    "models": [
        {"name": "main", "provider": "Echo"},
        {
            "name": "large",
            "provider": "Anthropic",
            "anthropic": {"model": "claude-fake", "credentials": {"secretKeyRef": {"name": "provider", "key": "key"}}},
        },
    ],
    "defaultModel": "main",
    "agents": [
        {"name": "writer", "systemPrompt": "Write.", "model": "large"},
        {"name": "critic", "systemPromptFrom": {"configMapKeyRef": {"name": "prompts", "key": "critic"}}},
        {"name": "assistant", "systemPrompt": "Help.", "description": "Helps."},
    ],
    "defaultAgent": "assistant",
    "autoscaling": {"minReplicas": 2, "maxReplicas": 5, "targetMemoryUtilizationPercentage": 80},
    "inheritedMetadata": {"labels": {"example.com/team": "a"}, "annotations": {"example.com/contact": "b"}},
    "runtime": {
        "env": [
            {"name": "PLAIN", "value": "1"},
            {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "provider", "key": "key"}}},
            {"name": "FROM_MAP", "valueFrom": {"configMapKeyRef": {"name": "prompts", "key": "critic"}}},
        ],
        "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"memory": "1.5Gi"}},
        "tolerations": [{"key": "example.com/agents", "operator": "Exists"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "imagePullSecrets": [{"name": "registry"}],
        "podLabels": {"example.com/pod": "1"},
        "podAnnotations": {"example.com/pod": "2"},
        "rollout": {"maxSurge": "50%", "maxUnavailable": 0},
        "lameDuckSeconds": 0,
    },
    "exposure": {
        "service": {"port": 8000, "annotations": {"example.com/tier": "internal"}},
        "ingress": {"className": "nginx", "hosts": ["agents.example.com"], "tls": {"secretName": "agents-tls"}},
        "httpRoute": {"parentRefs": [{"name": "public"}], "hostnames": ["agents.example.com"]},
    },
    "observability": {"logLevel": "Debug"},
}
"""A spec with most of what can be said in one."""


def apply_several(services: AgentServices) -> None:
    """Bring up a plain AgentService, a scaled one and a rich one."""
    services.make_config_map("prompts", critic="Criticise.")
    services.make_secret("provider", key="fake")
    services.apply("plain")
    services.apply("scaled", replicas=3)
    services.apply("rich", **RICH)
    for name in ("plain", "scaled", "rich"):
        services.wait_ready(name)
    services.wait(lambda service: condition(service, "ScalingActive"), "rich")  # its controller looks every 15 s


@pytest.mark.long
def test_prf_4_prf_6_nothing_is_written_until_everything_was_listed_again(
    cluster: Cluster, own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    operator, services = own_operator.start(), own_services
    apply_several(services)
    operator.settle()
    before = operator.audit.mark()
    reconciles = operator.metric("controller_runtime_reconcile_total")
    objects = versions(services.everything("plain", "scaled", "rich"))

    cluster.kubectl("-n", services.namespace, "label", "agentservice/plain", "example.com/new=label")
    cluster.kubectl("-n", services.namespace, "annotate", "agentservice/rich", "example.com/new=annotation")
    services.apply("scaled", replicas=3)
    wait_until(
        lambda: listed(operator, before) >= WATCHED,
        deadline=RELIST_DEADLINE,
        interval=5,
        describe=lambda: f"listed again: {sorted(listed(operator, before))}",
    )
    operator.settle()

    assert said(operator.writes(since=before)) == []
    after = versions(services.everything("plain", "scaled", "rich"))
    assert {name for name in objects if objects[name] != after[name]} <= {"AgentService/plain", "AgentService/rich"}
    # Resyncs (each AgentService's own, about every 100 s) and the annotation: it did look, and saw nothing to do.
    assert operator.metric("controller_runtime_reconcile_total") > reconciles


def listed(operator: OperatorProcess, since: int) -> set[str]:
    return {request.resource for request in operator.requests(since=since) if request.verb == "list"}


def test_prf_5_a_restart_lists_each_kind_and_writes_nothing(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    operator, services = own_operator.start(), own_services
    apply_several(services)
    operator.settle()
    objects = versions(services.everything("plain", "scaled", "rich"))
    before = operator.audit.mark()

    operator.restart()
    wait_until(
        lambda: operator.metric("controller_runtime_reconcile_total") >= 3,
        deadline=30,
        describe=operator.child.log_tail,
    )
    operator.settle()

    assert said(operator.writes(since=before)) == []
    assert versions(services.everything("plain", "scaled", "rich")) == objects
    lists = [request.uri.split("?")[0] for request in operator.requests(since=before) if request.verb == "list"]
    # ConfigMaps twice: ours, and the metadata of all for what specs refer to; AgentServices by kopf and by ourselves.
    kinds = (
        "AgentService",
        "AgentService",
        "ConfigMap",
        "Pod",
        *(kind.kind for kind in CHILDREN if kind is not SECRET),
    )
    assert sorted(lists) == sorted(services.path(kind, "") for kind in kinds)


def test_kpf_2_nothing_is_left_on_the_agent_service_but_its_status(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()
    services.wait_ready()

    metadata = services.get()["metadata"]

    assert "finalizers" not in metadata
    assert "annotations" not in metadata
    ours = [entry for entry in metadata["managedFields"] if entry["manager"].startswith("agentservice-operator")]
    assert [(entry["operation"], entry.get("subresource")) for entry in ours] == [("Apply", "status")]
    assert operator.child.exit_code is None
