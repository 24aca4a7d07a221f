"""What holds for the children of any AgentService."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from agentservice_operator.builders.build import build
from agentservice_operator.builders.labels import Object

from agent_runtime.config import RuntimeConfig
from tests.unit.builders.services import CONTEXT, agent_service, child


def pod(**fields: Any) -> Object:
    return dict(child("Deployment", agent_service(**fields))["spec"]["template"]["spec"])


EXPOSED = {"ingress": {"hosts": ["agents.example.com"]}, "httpRoute": {"parentRefs": [{"name": "public"}]}}


def test_children_come_in_the_order_in_which_they_are_applied() -> None:
    service = agent_service(autoscaling={"maxReplicas": 2}, exposure=EXPOSED)

    kinds = [item["kind"] for item in build(service, CONTEXT)]

    assert kinds == [
        "ServiceAccount",
        "Secret",
        "ConfigMap",
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "Ingress",
        "HTTPRoute",
        "PodMonitor",
        "PrometheusRule",
    ]


@pytest.mark.parametrize(
    ("fields", "several"),
    [
        ({"replicas": 0}, False),
        ({"replicas": 1}, False),
        ({"replicas": 2}, True),
        ({}, True),
        ({"autoscaling": {"maxReplicas": 1}}, False),
        ({"autoscaling": {"maxReplicas": 2}}, True),
    ],
    ids=str,
)
def test_hlm_5_a_disruption_budget_is_there_where_more_than_one_pod_can_be(
    fields: Object,
    several: bool,  # noqa: FBT001 - the expected value
) -> None:
    kinds = [item["kind"] for item in build(agent_service(**fields), CONTEXT)]

    assert ("PodDisruptionBudget" in kinds) == several


def test_an_http_route_is_made_only_where_the_kind_is_served() -> None:
    lacking = replace(CONTEXT, served_kinds=CONTEXT.served_kinds - {"HTTPRoute"})

    kinds = {item["kind"] for item in build(agent_service(exposure=EXPOSED), lacking)}

    assert "Ingress" in kinds
    assert "HTTPRoute" not in kinds


def test_every_child_is_owned_without_blocking_the_deletion_of_its_owner() -> None:
    for item in build(agent_service(), CONTEXT):
        (owner,) = item["metadata"]["ownerReferences"]
        assert owner == {
            "apiVersion": "agentservice.dev/v1alpha1",
            "kind": "AgentService",
            "name": "hello",
            "uid": "u-1",
            "controller": True,
        }


def test_our_labels_win_over_inherited_ones_and_over_pod_labels() -> None:
    label = "app.kubernetes.io/component"
    service = agent_service()
    # Not through parse: the API refuses such labels, and here is the second line of defence.
    spec = service.spec.model_copy(
        update={
            "inherited_metadata": service.spec.inherited_metadata.model_copy(update={"labels": {label: "other"}}),
            "runtime": service.spec.runtime.model_copy(update={"pod_labels": {label: "other"}}),
        }
    )
    service = service.model_copy(update={"spec": spec})

    for item in build(service, CONTEXT):
        assert item["metadata"]["labels"][label] == "server"
    assert child("Deployment", service)["spec"]["template"]["metadata"]["labels"][label] == "server"


def test_pods_meet_the_restricted_pod_security_standard() -> None:
    spec = pod()
    (container,) = spec["containers"]

    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert {next(iter(volume.keys() - {"name"})) for volume in spec["volumes"]} <= {"configMap", "secret", "emptyDir"}
    assert spec["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC", "nodeName"} & spec.keys()


def test_the_grace_period_covers_the_hook_the_lame_duck_the_drain_and_ten_seconds() -> None:
    service = agent_service(requestTimeoutSeconds=90, runtime={"lameDuckSeconds": 7})
    spec = child("Deployment", service)["spec"]["template"]["spec"]
    config = RuntimeConfig.model_validate_json(child("ConfigMap", service)["data"]["config.json"])

    sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]

    assert sleep + config.lame_duck_seconds == 7
    assert config.drain_seconds == 90
    assert spec["terminationGracePeriodSeconds"] == 7 + 90 + 10


def test_a_variable_is_taken_literally() -> None:
    (container,) = pod(runtime={"env": [{"name": "PRICE", "value": "$$5 for $(USER)"}]})["containers"]

    assert container["env"][0] == {"name": "PRICE", "value": "$$$$5 for $$(USER)"}


def test_credentials_are_mounted_by_secret_with_only_the_keys_that_models_name() -> None:
    def anthropic(secret: str, key: str) -> Object:
        return {"model": "claude-sonnet-5-5", "credentials": {"secretKeyRef": {"name": secret, "key": key}}}

    models = [
        {"name": f"m{position}", "provider": "Anthropic", "anthropic": anthropic(*reference)}
        for position, reference in enumerate([("b.c", "k"), ("a", "k2"), ("a", "k1"), ("a", "k1")])
    ]
    service = agent_service(models=models, defaultModel="m0")
    spec = child("Deployment", service)["spec"]["template"]["spec"]
    config = RuntimeConfig.model_validate_json(child("ConfigMap", service)["data"]["config.json"])

    volumes = {
        volume["secret"]["secretName"]: (volume["name"], [item["key"] for item in volume["secret"]["items"]])
        for volume in spec["volumes"]
        if "items" in volume.get("secret", {})
    }
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert {secret: keys for secret, (_, keys) in volumes.items()} == {"a": ["k1", "k2"], "b.c": ["k"]}
    for model in config.models:
        assert model.anthropic is not None
        folder, _, key = model.anthropic.credentials_file.rpartition("/")
        (secret,) = (secret for secret, (volume, _) in volumes.items() if mounts[volume] == folder)
        assert key in volumes[secret][1]


def test_the_volume_of_a_secret_has_a_valid_name_of_its_own() -> None:
    def volume(secret: str) -> str:
        credentials = {"secretKeyRef": {"name": secret, "key": "k"}}
        anthropic = {"model": "claude-sonnet-5-5", "credentials": credentials}
        spec = pod(models=[{"name": "main", "provider": "Anthropic", "anthropic": anthropic}])
        (found,) = (item["name"] for item in spec["volumes"] if item["name"].startswith("credentials-"))
        return str(found)

    volumes = [volume(secret) for secret in ("a-b", "a.b", "x" * 253, "x" * 252 + "y")]

    assert len(set(volumes)) == len(volumes)
    assert all(len(name) <= 63 and "." not in name for name in volumes)


def test_a_service_from_a_file_has_no_owner_to_refer_to() -> None:
    service = agent_service()
    unowned = service.model_copy(update={"metadata": service.metadata.model_copy(update={"uid": ""})})

    assert all("ownerReferences" not in item["metadata"] for item in build(unowned, CONTEXT))
