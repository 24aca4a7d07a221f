"""The revision names what the pods run: what changes it restarts them, and nothing else may."""

from __future__ import annotations

import json
from typing import Any

import pytest
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.deployment import revision

from tests.unit.builders.services import CONTEXT, agent_service, child

ANTHROPIC = {"model": "claude-sonnet-5-5", "credentials": {"secretKeyRef": {"name": "anthropic", "key": "api-key"}}}


@pytest.mark.parametrize(
    "edit",
    [
        {"agents": [{"name": "assistant", "systemPrompt": "You are brief."}]},
        {
            "agents": [
                {"name": "assistant", "systemPromptFrom": {"configMapKeyRef": {"name": "prompts", "key": "clerk"}}}
            ]
        },
        {"models": [{"name": "main", "provider": "Anthropic", "anthropic": ANTHROPIC}]},
        {"models": [{"name": "main", "provider": "Echo", "maxTokens": 10}]},
        {"requestTimeoutSeconds": 60},
        {"observability": {"logLevel": "Debug"}},
        {"runtime": {"image": "agentservice-runtime:pinned"}},
        {"runtime": {"resources": {"limits": {"memory": "1Gi"}}}},
        {"runtime": {"env": [{"name": "GREETING", "value": "hello"}]}},
        {"runtime": {"lameDuckSeconds": 9}},
        {"runtime": {"podAnnotations": {"example.com/a": "b"}}},
    ],
    ids=json.dumps,
)
def test_what_the_pods_run_on_changes_it(edit: dict[str, Any]) -> None:
    before = revision(child("Deployment", agent_service()))

    after = revision(child("Deployment", agent_service(**edit)))

    assert after != before


@pytest.mark.parametrize(
    "edit",
    [
        {"replicas": 5},
        {"autoscaling": {"maxReplicas": 5}},
        {"paused": True},
        {"exposure": {"service": {"type": "LoadBalancer", "port": 8000}}},
        {"inheritedMetadata": {"labels": {"team": "a"}, "annotations": {"example.com/a": "b"}}},
        {"runtime": {"rollout": {"maxSurge": 2}, "revisionHistoryLimit": 1}},
        {"runtime": {"drainSeconds": 120, "lameDuckSeconds": 5, "imagePullPolicy": "IfNotPresent"}},
    ],
    ids=json.dumps,
)
def test_what_stands_around_the_pods_leaves_the_whole_pod_template_alone(edit: dict[str, Any]) -> None:
    before = child("Deployment", agent_service())["spec"]["template"]

    after = child("Deployment", agent_service(**edit))["spec"]["template"]

    assert after == before


def test_a_changed_prompt_in_a_config_map_changes_it() -> None:
    reference = {"configMapKeyRef": {"name": "prompts", "key": "clerk"}}
    service = agent_service(agents=[{"name": "clerk", "systemPromptFrom": reference}])
    edited = BuildContext(CONTEXT.runtime_image, {("prompts", "clerk"): "You are brief."})

    assert revision(child("Deployment", service)) != revision(child("Deployment", service, edited))


def test_a_new_default_image_changes_it_but_not_that_of_a_pinned_service() -> None:
    upgraded = BuildContext("agentservice-runtime:next")
    pinned = agent_service(runtime={"image": "agentservice-runtime:pinned"})

    assert revision(child("Deployment", agent_service())) != revision(child("Deployment", agent_service(), upgraded))
    assert revision(child("Deployment", pinned)) == revision(child("Deployment", pinned, upgraded))


def test_it_is_ten_hexadecimal_digits_and_the_container_is_told() -> None:
    deployment = child("Deployment", agent_service())

    assert len(revision(deployment)) == 10
    assert int(revision(deployment), 16) >= 0
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    (variable,) = (item for item in container["env"] if item["name"] == "AGENTSERVICE_REVISION")
    assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.annotations['agentservice.dev/revision']"
