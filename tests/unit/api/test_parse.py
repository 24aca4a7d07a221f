"""``parse`` reads what the API server stores, and refuses with the same sentences where there is no API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from agentservice_operator.api.v1alpha1.parse import InvalidSpec, parse

from tests.unit.api.refusals import BOUNDS, REMOVED, RULES, SHAPES, Refusal, changed, smallest
from tests.unit.api.tool_refusals import TOOL_RULES

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def services_in(file: Path) -> list[dict[str, Any]]:
    documents = [document for document in yaml.safe_load_all(file.read_text()) if document["kind"] == "AgentService"]
    return [changed({"metadata.namespace": "default"}, document) for document in documents]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_are_valid(file: Path) -> None:
    assert all(parse(service, as_written=True) for service in services_in(file))


@pytest.mark.parametrize("refusal", [*RULES, *TOOL_RULES], ids=str)
def test_a_broken_rule_is_refused_with_its_sentence_and_its_field(refusal: Refusal) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse(changed(refusal.changes), as_written=True)

    assert str(refused.value).startswith(f"{refusal.at}: " if refusal.at else "metadata.name")
    assert refusal.says in str(refused.value)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize("refusal", SHAPES, ids=str)
def test_a_broken_shape_is_refused_naming_its_field(refusal: Refusal) -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse(changed(refusal.changes), as_written=True)

    assert str(refused.value).startswith(f"{refusal.at}: ")


@pytest.mark.parametrize(("path", "least", "largest"), BOUNDS)
def test_numbers_are_taken_up_to_their_bounds(path: str, least: int, largest: int) -> None:
    for value in (least, largest):
        parse(changed({path: value}))
    for value in (least - 1, largest + 1):
        with pytest.raises(InvalidSpec):
            parse(changed({path: value}))


def test_what_a_newer_api_added_is_ignored() -> None:
    service = parse(changed({"spec.budget": {"period": "Day"}, "spec.models.0.fallbacks": ["small"]}))

    assert service.spec.models[0].name == "main"


@pytest.mark.parametrize("field", ["spec.budgte", "spec.models.0.max_tokens", "spec.runtime.rollout.maxSuge"])
def test_what_a_person_wrote_has_no_unknown_field(field: str) -> None:
    with pytest.raises(InvalidSpec, match="there is no such field: correct its name or remove it"):
        parse(changed({field: 1}), as_written=True)


def test_metadata_may_hold_what_the_operator_does_not_read() -> None:
    service = changed({"metadata.labels": {"a": "b"}, "metadata.managedFields": [], "metadata.annotations": {"c": "d"}})

    assert parse(service, as_written=True).metadata.annotations == {"c": "d"}


def test_null_means_absent_in_what_a_person_wrote() -> None:
    service = parse(changed({"spec.runtime.env": None, "spec.replicas": None}), as_written=True)

    assert (service.spec.runtime.env, service.spec.replicas) == ([], None)


@pytest.mark.parametrize("field", ["apiVersion", "kind"])
def test_another_kind_of_object_is_refused(field: str) -> None:
    with pytest.raises(InvalidSpec, match=f"^{field}: 'Other' is not"):
        parse(smallest() | {field: "Other"})


@pytest.mark.parametrize("field", ["spec", "metadata", "metadata.name"])
def test_an_object_without_its_parts_is_refused(field: str) -> None:
    with pytest.raises(InvalidSpec, match=f"^{field}: "):
        parse(changed({field: REMOVED}))


def test_raw_parts_are_passed_on_as_written() -> None:
    toleration = {"key": "a", "operator": "Exists"}
    affinity = {"nodeAffinity": {"x": [1, None]}}
    service = parse(changed({"spec.runtime.tolerations": [toleration], "spec.runtime.affinity": affinity}))

    assert service.spec.runtime.tolerations == [toleration]
    assert service.spec.runtime.affinity == affinity


def test_an_error_does_not_repeat_the_value() -> None:
    with pytest.raises(InvalidSpec) as refused:
        parse(changed({"spec.runtime.env": [{"name": "A", "value": ["not-a-real-key"]}]}))

    assert "not-a-real-key" not in str(refused.value)
