"""Equal specs give equal bytes, whatever the order in which maps and lists by name were written."""

from __future__ import annotations

import json
import random
from typing import Any

import hypothesis.strategies as st
from agentservice_operator.builders.build import build
from agentservice_operator.builders.hashing import short_hash
from hypothesis import given, settings

from tests.unit.builders.services import CONTEXT, agent_service

names = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
maps = st.dictionaries(names.map("example.com/{}".format), names, max_size=4)
MAPS_BY_NAME = ("models", "agents", "env", "imagePullSecrets")


def by_name(item: st.SearchStrategy[dict[str, Any]], at_least: int = 0) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(item, unique_by=lambda entry: str(entry["name"]), min_size=at_least, max_size=4)


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    model = st.fixed_dictionaries({"name": names, "provider": st.just("Echo"), "retries": st.integers(0, 5)})
    agent = st.fixed_dictionaries({"name": names, "systemPrompt": st.text(min_size=1, max_size=20)})
    models, agents = draw(by_name(model, 1)), draw(by_name(agent, 1))
    return {
        "models": models,
        "defaultModel": draw(st.sampled_from([model["name"] for model in models])),
        "agents": agents,
        "defaultAgent": draw(st.sampled_from([agent["name"] for agent in agents])),
        "inheritedMetadata": {"labels": draw(maps), "annotations": draw(maps)},
        "runtime": {
            "env": draw(by_name(st.fixed_dictionaries({"name": names.map(str.upper), "value": names}))),
            "imagePullSecrets": draw(by_name(st.fixed_dictionaries({"name": names}))),
            "podLabels": draw(maps),
            "podAnnotations": draw(maps),
            "nodeSelector": draw(maps),
            "affinity": {"nodeAffinity": draw(maps)},
            "resources": {
                "limits": {"cpu": draw(st.integers(1, 9)), "memory": "1Gi"},
                "requests": {"memory": "1024Mi", "cpu": "0.5"},
            },
        },
        "exposure": {"service": {"annotations": draw(maps)}},
    }


def reordered(value: Any, order: random.Random, field: str = "") -> Any:
    """The same value with the entries of maps, and of lists that are maps by name, in another order."""
    if isinstance(value, dict):
        items = order.sample(list(value.items()), len(value))
        return {key: reordered(item, order, key) for key, item in items}
    if isinstance(value, list):
        return [
            reordered(item, order) for item in (order.sample(value, len(value)) if field in MAPS_BY_NAME else value)
        ]
    return value


@settings(max_examples=50, deadline=None)
@given(specs(), st.randoms(use_true_random=True))
def test_the_order_of_a_spec_means_nothing(spec: dict[str, Any], order: random.Random) -> None:
    first = json.dumps(build(agent_service(**spec), CONTEXT))

    again = json.dumps(build(agent_service(**reordered(spec, order)), CONTEXT))

    assert again == first


@settings(max_examples=50, deadline=None)
@given(specs())
def test_no_child_holds_a_null_an_empty_list_or_a_status(spec: dict[str, Any]) -> None:
    def check(value: Any, path: str) -> None:
        assert value is not None, path
        assert value != [], path
        if isinstance(value, dict):
            for key, item in value.items():
                check(item, f"{path}.{key}")
        if isinstance(value, list):
            for item in value:
                check(item, path)

    for item in build(agent_service(**spec), CONTEXT):
        check(item, item["kind"])
        assert "status" not in item


def test_a_digest_does_not_change_between_releases() -> None:
    assert short_hash({"b": [1, "é"], "a": None}) == short_hash({"a": None, "b": [1, "é"]}) == "f8f17faab9"
