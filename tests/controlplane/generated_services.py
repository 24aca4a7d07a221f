"""Hypothesis strategies for AgentServices, out of the OpenAPI schema in ``crds/``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

CRD = Path(__file__).parent.parent.parent / "crds" / "agentservice.dev_agentservices.yaml"
NAMES = ("main", "small", "a")
"""Few, so that references often meet what they name."""

_SERVICE_NAMES = [*("a", "hello", "a-1", "x" * 50) * 5, "1st", "shop-worker", "x" * 51]
_LONGEST_TEXT = 24
_LONGEST_LIST = 3


def agent_services() -> st.SearchStrategy[dict[str, Any]]:
    """Whole objects: most obey the rules between fields, many break one, some have a value out of its bounds."""
    version = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return st.builds(_service, name=st.sampled_from(_SERVICE_NAMES), spec=_specs(spec))


def _service(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "agentservice.dev/v1alpha1", "kind": "AgentService", "metadata": metadata, "spec": spec}


@st.composite
def _specs(draw: st.DrawFn, schema: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = draw(values(schema))
    for repair in _REPAIRS:
        if draw(_often(19)):
            repair(spec)
    if not draw(_often(4)):
        draw(_break(spec, schema))
    return spec


def _often(times: int) -> st.SearchStrategy[bool]:
    """True ``times`` times, False once; Hypothesis prefers what stands first, so that is True."""
    return st.sampled_from([True] * times + [False])


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a schema describes, without regard to its rules."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "x-kubernetes-int-or-string" in schema:
        return _integers(schema) | _texts(schema)
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            return _integers(schema)
        case "string":
            return _texts(schema)
        case "array":
            return _lists(schema)
        case _:
            return _objects(schema)


def _integers(schema: dict[str, Any]) -> st.SearchStrategy[int]:
    least, largest = schema.get("minimum", 0), schema.get("maximum", 2**31 - 1)
    return st.sampled_from([least, largest]) | st.integers(least, largest)


def _texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    shortest, longest = schema.get("minLength", 0), min(schema["maxLength"], _LONGEST_TEXT)
    if "pattern" not in schema:
        characters = st.characters(exclude_categories=["Cs"])  # surrogates are no text in JSON
        return st.text(characters, min_size=shortest, max_size=longest)
    matching = st.from_regex(schema["pattern"], fullmatch=True).filter(lambda text: shortest <= len(text) <= longest)
    if schema["maxLength"] == 63:  # DNS labels: names and what refers to them
        return st.sampled_from(NAMES) | matching
    return matching


def _lists(schema: dict[str, Any]) -> st.SearchStrategy[list[Any]]:
    keys = schema.get("x-kubernetes-list-map-keys", [])
    unique: Callable[[Any], Any] | None = None
    if keys:
        unique = lambda item: tuple(item.get(key) for key in keys)  # noqa: E731 - a key function
    elif schema.get("x-kubernetes-list-type") == "set":
        unique = lambda item: item  # noqa: E731 - a key function
    shortest = schema.get("minItems", 0)
    return st.lists(values(schema["items"]), min_size=shortest, max_size=_LONGEST_LIST, unique_by=unique)


def _objects(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    if "additionalProperties" in schema:
        keys = st.sampled_from(["a", "example.com/b", "c.d_e", "cpu", "memory"])
        return st.dictionaries(keys, values(schema["additionalProperties"]), max_size=_LONGEST_LIST)
    if "x-kubernetes-preserve-unknown-fields" in schema:
        return st.dictionaries(st.text("abc", min_size=1), st.booleans() | st.integers(0, 9), max_size=2)
    fields = {name: values(below) for name, below in schema["properties"].items()}
    required = schema.get("required", [])
    return st.fixed_dictionaries(
        {name: fields[name] for name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


@st.composite
def _break(draw: st.DrawFn, spec: dict[str, Any], schema: dict[str, Any]) -> None:
    """Put a value of another type or size, or another field, somewhere into the spec."""
    here, properties = spec, schema["properties"]
    while True:
        name = draw(st.sampled_from(sorted(properties)))
        below = properties[name]
        inside = here.get(name)
        if isinstance(inside, list) and inside and isinstance(inside[0], dict):
            inside, below = inside[0], below["items"]
        if isinstance(inside, dict) and "properties" in below and draw(st.booleans()):
            here, properties = inside, below["properties"]
            continue
        if below.get("x-kubernetes-preserve-unknown-fields"):
            name = "noSuchField"
        wrong = st.sampled_from([-1, 10**10, 1.5, "", "no\n", "x" * 40_000, True, [], {"a": "b"}, [{}], ["a", "a"]])
        here[name] = copy.deepcopy(draw(wrong))
        return


def _repair_models(spec: dict[str, Any]) -> None:
    for model in spec["models"]:
        if model["provider"] != "Anthropic":
            model.pop("anthropic", None)
        elif "anthropic" not in model:
            model["provider"] = "Echo"
        else:
            model["anthropic"].pop("baseURL", None)


def _repair_prompts(spec: dict[str, Any]) -> None:
    for agent in spec["agents"]:
        if ("systemPrompt" in agent) == ("systemPromptFrom" in agent):
            agent.pop("systemPromptFrom", None)
            agent["systemPrompt"] = "Be brief."


def _repair_references(spec: dict[str, Any]) -> None:
    names = {model["name"] for model in spec["models"]}
    spec["defaultModel"] = min(names)
    spec["defaultAgent"] = min(agent["name"] for agent in spec["agents"])
    for agent in spec["agents"]:
        if agent.get("model") not in names:
            agent.pop("model", None)


def _repair_scaling(spec: dict[str, Any]) -> None:
    if "autoscaling" in spec:
        spec.pop("replicas", None)
        least, most = spec["autoscaling"].get("minReplicas", 1), spec["autoscaling"]["maxReplicas"]
        spec["autoscaling"] |= {"minReplicas": min(least, most), "maxReplicas": max(least, most)}


def _repair_state(spec: dict[str, Any]) -> None:
    state = spec.get("state", {})
    for backend, member in (("Volume", "volume"), ("PostgreSQL", "postgreSQL")):
        if state.get("backend") != backend:
            state.pop(member, None)
        elif member not in state:
            state["backend"] = "Ephemeral"
    if state.get("backend") != "PostgreSQL":
        state.pop("redis", None)
    elif "workers" in spec.get("tasks", {}):
        state.setdefault("redis", copy.deepcopy(state["postgreSQL"]))
    if "redis" not in state:
        spec.get("tasks", {}).pop("workers", None)
    if state.get("backend") == "Volume":
        spec.pop("autoscaling", None)
        spec.pop("replicas", None)


def _repair_environment(spec: dict[str, Any]) -> None:
    for variable in spec.get("runtime", {}).get("env", []):
        source = variable.get("valueFrom", {})
        if len(source) == 1:
            variable.pop("value", None)
        else:
            variable.pop("valueFrom", None)
            variable["value"] = "x"


def _repair_pods(spec: dict[str, Any]) -> None:
    runtime = spec.get("runtime", {})
    rollout = runtime.get("rollout", {})
    if rollout.get("maxSurge", 1) in (0, "0%"):
        rollout["maxUnavailable"] = 1
    runtime.get("resources", {}).pop("requests", None)
    for toleration in runtime.get("tolerations", []):
        toleration.update(key="a", operator="Equal", effect="NoExecute")
    for constraint in runtime.get("topologySpreadConstraints", []):
        constraint.pop("minDomains", None)
        for requirement in constraint.get("labelSelector", {}).get("matchExpressions", []):
            requirement.update(operator="In", values=["a"])


def _repair_network(spec: dict[str, Any]) -> None:
    policy = spec.get("networkPolicy", {})
    if policy.get("allowFrom") or policy.get("allowTo"):
        policy["mode"] = "Enabled"


def _repair_exposure(spec: dict[str, Any]) -> None:
    ingress = spec.get("exposure", {}).get("ingress")
    if ingress is not None:
        ingress |= {"hosts": ["agents.example.com", "*.example.com"], "path": "/support"}
    route = spec.get("exposure", {}).get("httpRoute")
    if route is not None:
        route |= {"parentRefs": [{"name": "public"}], "hostnames": ["agents.example.com"]}


_REPAIRS = (
    _repair_models,
    _repair_prompts,
    _repair_references,
    _repair_scaling,
    _repair_state,
    _repair_environment,
    _repair_pods,
    _repair_network,
    _repair_exposure,
)
