"""What a spec refers to by name, with the purpose that messages name."""

from __future__ import annotations

import pytest
from agentservice_operator.builders.build import build
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.references import UnresolvedReference, references

from tests.unit.builders.services import agent_service

CREDENTIALS = {"secretKeyRef": {"name": "anthropic", "key": "api-key"}}


def test_the_smallest_service_refers_to_nothing() -> None:
    found = references(agent_service())

    assert (found.secrets, found.config_maps) == ({}, {})


def test_a_key_that_serves_several_purposes_names_them_all() -> None:
    anthropic = {"model": "claude-sonnet-5-5", "credentials": CREDENTIALS}
    models = [{"name": name, "provider": "Anthropic", "anthropic": anthropic} for name in ("small", "main")]

    found = references(agent_service(models=models, defaultModel="main"))

    assert found.secrets == {
        ("anthropic", "api-key"): "the credentials of model main and the credentials of model small"
    }


def test_prompts_and_variables_are_references() -> None:
    service = agent_service(
        agents=[{"name": "clerk", "systemPromptFrom": {"configMapKeyRef": {"name": "prompts", "key": "clerk"}}}],
        runtime={
            "env": [
                {"name": "REGION", "valueFrom": {"configMapKeyRef": {"name": "site", "key": "region"}}},
                {"name": "BACKEND_KEY", "valueFrom": {"secretKeyRef": {"name": "backend", "key": "key"}}},
            ]
        },
    )

    found = references(service)

    assert found.config_maps == {
        ("prompts", "clerk"): "the system prompt of agent clerk",
        ("site", "region"): "the environment variable REGION",
    }
    assert found.secrets == {("backend", "key"): "the environment variable BACKEND_KEY"}


def test_the_keys_of_callers_are_a_reference_where_somebody_else_keeps_them() -> None:
    api_keys = {"source": "Secret", "secretRef": {"name": "callers"}}

    assert references(agent_service()).api_keys == {}
    assert references(agent_service(access={"apiKeys": api_keys})).api_keys == {
        ("callers", None): "the API keys of callers"
    }
    clients = [{"name": "web"}, {"name": "mobile"}]
    assert references(agent_service(access={"apiKeys": api_keys, "clients": clients})).api_keys == {
        ("callers", "mobile"): "the API key of client mobile",
        ("callers", "web"): "the API key of client web",
    }


def test_a_build_without_the_content_of_a_prompt_names_agent_config_map_and_key() -> None:
    reference = {"configMapKeyRef": {"name": "prompts", "key": "clerk"}}
    service = agent_service(agents=[{"name": "clerk", "systemPromptFrom": reference}])

    with pytest.raises(UnresolvedReference, match="agent clerk: systemPromptFrom: ConfigMap prompts with key clerk"):
        build(service, BuildContext("agentservice-runtime:test"))


def test_a_service_account_of_somebody_else_is_a_reference_and_no_child() -> None:
    service = agent_service(runtime={"serviceAccount": {"name": "cloud"}})

    assert references(service).service_account == "cloud"
    assert references(agent_service()).service_account is None
    assert "ServiceAccount" not in {item["kind"] for item in build(service, BuildContext("agentservice-runtime:test"))}
