"""Values for a leaf: other ones, those at its bounds, and broken ones; out of its schema, or by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.unit.transitions.leaves import Leaf


@dataclass(frozen=True)
class ByHand:
    """Values that a schema does not tell.

    Args:
        others: valid ones.
        bounds: valid ones as small, large or empty as can be.
        refused: ones that the API server refuses in an AgentService.
        rejected: ones that it takes in an AgentService and refuses in a child.
        together: changes that need others beside them: fields of the object around the leaf, None removes one.
    """

    others: tuple[Any, ...] = ()
    bounds: tuple[Any, ...] = ()
    refused: tuple[Any, ...] = ()
    rejected: tuple[Any, ...] = ()
    together: tuple[dict[str, Any], ...] = ()


_LONGEST_KEY = ".".join(["a" * 63] * 3 + ["a" * 61]) + "/" + "b" * 63
_NO_KEYS = ("two words", "a/b/c")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_BESIDE = {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "kubernetes.io/hostname"}
_ON_LINUX = {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}
_ONE_MORE = {"type": "Pods", "value": 1, "periodSeconds": 30}


def _pods_metric(average: str) -> dict[str, Any]:
    return {
        "type": "Pods",
        "pods": {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": average}},
    }


_DOLLARS = ByHand(others=("4.25",), bounds=("0", "999999999.999999"), refused=("", "-1", "1e3", "0.0000001", "2,5"))

BY_HAND = {
    "spec.models[].provider": ByHand(together=({"provider": "Echo", "anthropic": None},)),
    "spec.models[].anthropic.baseURL": ByHand(
        others=("https://other.example:8443/v1",),
        bounds=("http://a",),
        refused=("gateway.example", "ftp://gateway.example", "https://user:pw@gateway.example", "http://a/?b=c"),
    ),
    **{
        f"spec.models[].pricing.{price}": _DOLLARS
        for price in (
            "inputPerMillion",
            "outputPerMillion",
            "cacheReadPerMillion",
            "cacheWritePerMillion",
            "webSearchPerThousand",
        )
    },
    "spec.agents[].tools[]": ByHand(others=("order",), bounds=("a-b",), refused=("nobodys",)),
    "spec.tools[].type": ByHand(
        together=(
            {
                "type": "HTTP",
                "http": {"method": "POST", "url": "http://a.b.svc/", "inputSchema": {}},
                "mcp": None,
                "webSearch": None,
            },
        )
    ),
    "spec.tools[].mcp.url": ByHand(
        others=("http://[fd00::1]:8080/mcp?a=b",),
        bounds=("http://a",),
        refused=(
            "mcp.example.com",
            "ftp://mcp.example.com/",
            "https://me:pw@mcp.example.com/",
            "http://a/{b}",
            "http://a#b",
        ),
    ),
    "spec.tools[].http.url": ByHand(
        others=("http://[fd00::1]:8080/{a}/b?c={d}&e=f",),
        bounds=("http://a",),
        refused=(
            "https://{host}.example.com/",
            "https://user:pw@api.example.com/",
            "https://api.example.com/#a",
            "https://api.example.com:{port}/",
            "https://api.example.com/{a b}",
            "ftp://api.example.com/",
            "api.example.com",
        ),
    ),
    "spec.tools[].http.inputSchema": ByHand(
        others=({"type": "object", "properties": {"other": {"type": "integer"}}},),
        bounds=({}, {"type": "object", "additionalProperties": False}),
    ),
    "spec.access.apiKeys.source": ByHand(
        together=({"source": "Secret", "secretRef": {"name": "keys"}}, {"source": "Generated", "secretRef": None})
    ),
    "spec.access.clients[].name": ByHand(others=("Web_1.a",), refused=("web.previous", ".web", "a b", "a/b")),
    "spec.exposure.cors.allowedOrigins[]": ByHand(
        others=("http://[fd00::1]:8080",),
        bounds=("*", "http://a"),
        refused=(
            "app.example.com",
            "https://app.example.com/",
            "https://App.example.com",
            "https://*.example.com",
            "null",
        ),
    ),
    "spec.state.backend": ByHand(
        together=(
            {"backend": "Ephemeral", "volume": None, "postgreSQL": None, "redis": None},
            {"backend": "Volume", "volume": {"size": "1Gi"}, "postgreSQL": None, "redis": None},
            {
                "backend": "PostgreSQL",
                "volume": None,
                "postgreSQL": {"urlFrom": {"secretKeyRef": {"name": "database", "key": "url"}}},
            },
        )
    ),
    "spec.state.volume.size": ByHand(others=("1.5Gi", "2048Mi"), bounds=("999999Ti",), refused=("1", "0Gi", "-1Gi")),
    "spec.runtime.env[].value": ByHand(refused=("postgres://user:pw@db/agents",)),
    "spec.runtime.resources.requests.*": ByHand(others=("0.1", 1, "75m"), refused=("1 core", -1)),
    "spec.runtime.resources.limits.*": ByHand(others=("0.5Gi", 10**9, "1e9"), refused=("1 core", -1)),
    "spec.runtime.tolerations[].key": ByHand(others=("gpu",), bounds=("a", _LONGEST_KEY), rejected=_NO_KEYS),
    "spec.runtime.topologySpreadConstraints[].topologyKey": ByHand(
        others=("topology.kubernetes.io/region",), bounds=("a", _LONGEST_KEY)
    ),
    "spec.runtime.topologySpreadConstraints[].labelSelector.matchExpressions[].key": ByHand(
        others=("tier",), bounds=("a", _LONGEST_KEY), rejected=_NO_KEYS
    ),
    "spec.runtime.topologySpreadConstraints[].matchLabelKeys[]": ByHand(
        others=("example.com/version",), bounds=("a", _LONGEST_KEY), rejected=_NO_KEYS
    ),
    "spec.runtime.priorityClassName": ByHand(others=("system-node-critical",)),
    "spec.runtime.affinity": ByHand(
        others=(
            {"podAntiAffinity": {_PREFERRED: [{"weight": 100, "podAffinityTerm": _BESIDE}]}},
            {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": [_ON_LINUX]}}},
        ),
        bounds=({}, {"nodeAffinity": {}}),
        rejected=(
            {"nodeAffinity": {_REQUIRED: {"nodeSelectorTerms": []}}},
            {"nodeAffinity": {_REQUIRED: "everywhere"}},
            {"podAntiAffinity": {_REQUIRED: [{"labelSelector": {}}]}},
            {"noSuchAffinity": {}},
        ),
    ),
    "spec.observability.podMonitor.interval": ByHand(
        others=("1m",), bounds=("1s", "9999h"), refused=("30", "0s", "1.5m", "1m30s", "10000s")
    ),
    "spec.autoscaling.metrics[]": ByHand(
        others=(_pods_metric("10"),),
        bounds=(_pods_metric("1m"),),
        rejected=({}, {"type": "NoSuchType"}, {"type": "Resource"}, {"type": "Resource", "resource": "cpu"}),
    ),
    "spec.autoscaling.behavior": ByHand(
        others=({"scaleUp": {"policies": [_ONE_MORE]}},),
        bounds=({}, {"scaleDown": {"stabilizationWindowSeconds": 3600}}),
        rejected=(
            {"scaleDown": {"stabilizationWindowSeconds": 3601}},
            {"scaleUp": {"policies": [_ONE_MORE | {"value": 0}]}},
            {"scaleUp": "fast"},
        ),
    ),
    "spec.exposure.ingress.hosts[]": ByHand(
        others=("other.example.com", "*.example.org"),
        bounds=("a", ".".join(["a" * 62] * 4)),
        refused=("https://agents.example.com", "agents.example.com:8443", "192.0.2.1", "*", "a.*.example.com"),
    ),
    "spec.exposure.httpRoute.hostnames[]": ByHand(
        others=("other.example.com", "*.example.org"),
        bounds=("a", ".".join(["a" * 62] * 4)),
        refused=("https://agents.example.com", "agents.example.com:8443", "192.0.2.1", "*", "a.*.example.com"),
    ),
    "spec.exposure.ingress.path": ByHand(
        others=("/sales/", "/.hidden/~a_b"),
        bounds=("/", "/" + "a" * 255),
        refused=("support", "//", "/a//b", "/..", "/a/../b", "/a%2fb", "/a b", "/a?b"),
    ),
    "spec.networkPolicy.allowFrom[]": ByHand(
        others=({"namespaceSelector": {"matchLabels": {"team": "a"}}},),
        bounds=({"podSelector": {}},),
        rejected=({"ipBlock": {"cidr": "everywhere"}}, {"ipBlock": {"cidr": "192.0.2.0/24"}, "podSelector": {}}, {}),
    ),
    "spec.networkPolicy.allowTo[]": ByHand(
        others=({"to": [{"podSelector": {"matchLabels": {"app": "a"}}}]},),
        bounds=({}, {"ports": [{"port": 1, "endPort": 65535}]}),
        rejected=({"ports": [{"port": 0}]}, {"to": [{}]}, {"to": "everywhere"}, {"ports": [{"protocol": "ICMP"}]}),
    ),
}
"""By the path of the leaf; a raw part, or one on which a rule bears, needs them."""


def by_hand(leaf: Leaf) -> ByHand:
    """What is written above for a leaf."""
    return BY_HAND.get(str(leaf), ByHand())


def others(leaf: Leaf, value: Any, names: list[str]) -> Iterator[Any]:
    """Other values that fit the leaf's schema, the telling ones first.

    Args:
        leaf: whose.
        value: the one that is there.
        names: what else is named in the spec: a reference can only be changed to one of these.
    """
    schema = leaf.schema
    found: list[Any] = [*by_hand(leaf).others]
    if "enum" in schema:
        found += schema["enum"]
    elif schema.get("type") == "boolean":
        found += [True, False]
    else:
        if isinstance(value, int):
            found += [value + 1, value - 1]
        if _takes_text(schema):
            text = value if isinstance(value, str) else "1"
            found += [*names, f"{text}x", f"{text}2", f"2{text}", "b", "10%"]
    yield from _distinct(each for each in found if each != value and fits(schema, each))


def bounds(leaf: Leaf, value: Any) -> Iterator[Any]:
    """Values at the ends of what fits the leaf's schema."""
    schema = leaf.schema
    found: list[Any] = [*by_hand(leaf).bounds]
    if "enum" in schema:
        found += schema["enum"]
    elif schema.get("type") == "boolean":
        found += [True, False]
    else:
        found += [schema[end] for end in ("minimum", "maximum") if end in schema]
        # A text as long as can be of which nothing is known but its length may be refused in a child.
        if _takes_text(schema) and not (found and "pattern" not in schema):
            for length in (schema.get("minLength", 0), schema["maxLength"]):
                found += [text for text in _texts(length, value) if fits(schema, text)][:1]
    yield from _distinct(found)


def refused(leaf: Leaf) -> Iterator[Any]:
    """Values that break the leaf's schema."""
    schema = leaf.schema
    yield from by_hand(leaf).refused
    found: list[Any] = [{"a": "b"} if schema.get("type") != "object" else "text", ["a"]]
    if "enum" in schema:
        found += ["NoSuchValue", 7]
    elif schema.get("type") == "boolean":
        found += ["yes", 1]
    else:
        found += [True, 1.5, *(schema[end] + step for end, step in (("minimum", -1), ("maximum", 1)) if end in schema)]
        if _takes_text(schema):
            found += ["", "a b!", "-", "a\n", "é", "a" * (schema["maxLength"] + 1), "1" * (schema["maxLength"] + 1)]
        else:
            found += ["many"]
    yield from _distinct(each for each in found if not fits(schema, each))


def fits(schema: dict[str, Any], value: Any) -> bool:
    """Whether a value obeys what a leaf's schema says of types, bounds and patterns."""
    if "enum" in schema:
        return value in schema["enum"]
    if isinstance(value, bool):
        return schema.get("type") == "boolean"
    if isinstance(value, int) and _takes_integers(schema):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    if isinstance(value, str) and _takes_text(schema):
        pattern = schema.get("pattern", "")
        return (
            schema.get("minLength", 0) <= len(value) <= schema["maxLength"]
            and re.search(pattern, value, re.ASCII) is not None
            and not (pattern and "\n" in value)
        )
    return isinstance(value, dict) and schema.get("type") == "object"


def _takes_integers(schema: dict[str, Any]) -> bool:
    return "x-kubernetes-int-or-string" in schema or schema.get("type") == "integer"


def _takes_text(schema: dict[str, Any]) -> bool:
    return "x-kubernetes-int-or-string" in schema or schema.get("type") == "string"


def _texts(length: int, value: Any) -> Iterator[str]:
    """Texts of a length, one of which should match whatever pattern."""
    text = str(value)
    yield from (letter * length for letter in "aA1.")
    yield (text + text[-1:] * length)[:length]
    yield "100%" if length >= len("100%") else "1%"


def _distinct(values: Iterator[Any] | list[Any]) -> Iterator[Any]:
    seen: list[tuple[type, Any]] = []
    for value in values:
        if (type(value), value) not in seen:
            seen.append((type(value), value))
            yield value
