"""The API server refuses every broken rule with a sentence, and takes everything up to the bounds."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest
from agentservice_operator.api.crdgen import custom_resource_definition
from agentservice_operator.api.markers import VALIDATIONS
from agentservice_operator.api.v1alpha1.crd import AGENT_SERVICE

from dev.api_client import ApiError
from dev.cluster import Cluster
from tests.unit.api.refusals import BOUNDS, RULES, SHAPES, Refusal, changed
from tests.unit.api.tool_refusals import TOOL_RULES

pytestmark = pytest.mark.usefixtures("crd")


def refused_causes(cluster: Cluster, service: dict[str, Any]) -> list[dict[str, str]]:
    with pytest.raises(ApiError) as refused:
        cluster.api.create(service, dryRun="All", fieldValidation="Strict")
    assert refused.value.code == http.client.UNPROCESSABLE_ENTITY, refused.value
    causes: list[dict[str, str]] = refused.value.status["details"]["causes"]
    return causes


@pytest.mark.parametrize("refusal", [*RULES, *TOOL_RULES], ids=str)
def test_a_broken_rule_is_refused_with_its_sentence_at_its_field(cluster: Cluster, refusal: Refusal) -> None:
    causes = refused_causes(cluster, changed(refusal.changes))

    fields = {cause["field"] for cause in causes if refusal.says in cause["message"]}
    assert fields == {refusal.at or "<nil>"}, causes


@pytest.mark.parametrize("refusal", SHAPES, ids=str)
def test_a_broken_shape_is_refused_at_its_field(cluster: Cluster, refusal: Refusal) -> None:
    causes = refused_causes(cluster, changed(refusal.changes))

    assert any(cause["field"].startswith(refusal.at) for cause in causes), causes


@pytest.mark.parametrize(("path", "least", "largest"), BOUNDS)
def test_numbers_are_taken_up_to_their_bounds(cluster: Cluster, path: str, least: int, largest: int) -> None:
    for value in (least, largest):
        cluster.api.create(changed({path: value}), dryRun="All", fieldValidation="Strict")
    for value in (least - 1, largest + 1):
        refused_causes(cluster, changed({path: value}))


def test_every_rule_of_the_definition_is_broken_by_a_case_above() -> None:
    schema = custom_resource_definition(AGENT_SERVICE)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    unbroken = [
        f"{path}: {message}"
        for path, message in messages(schema, "")
        if not any(case.says in message and case.at.startswith(path.split("[")[0]) for case in (*RULES, *TOOL_RULES))
    ]
    assert unbroken == []


def messages(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """The sentences of the rules that judge an object by itself; those on changes have tests of their own."""
    for rule in schema.get(VALIDATIONS, ()):
        if "oldSelf" not in rule["rule"]:
            yield path, rule["message"]
    for name, below in schema.get("properties", {}).items():
        yield from messages(below, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from messages(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from messages(schema["additionalProperties"], f"{path}.*")
