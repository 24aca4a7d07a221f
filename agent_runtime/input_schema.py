"""Whether a JSON schema can be that of a tool's input, of whatever type the tool is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # has no types
from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]  # as above

ROOT_COMBINATORS = ("allOf", "anyOf", "oneOf")
"""What the Messages API takes in parts of such a schema, and refuses at its root."""
NESTING_LIMIT = 64
"""Levels of objects and lists."""
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")
_REASON_LIMIT_CHARACTERS = 300


def input_schema_fault(schema: Mapping[str, Any]) -> str | None:
    """What keeps models from being called with such a tool; None: nothing.

    The Messages API refuses a whole request, with all its tools, for the schema of one of them.

    Args:
        schema: by JSON schema 2020-12.
    """
    if schema.get("type") != "object":
        return '$.type: must be "object", as models call tools so'
    if _is_deeper(schema, NESTING_LIMIT):
        return f"$: is nested more than {NESTING_LIMIT} levels deep"
    for keyword in ROOT_COMBINATORS:
        if keyword in schema:
            return f"$.{keyword}: models do not take it here: move it into a property, or leave it out"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"{error.json_path}: {error.message[:_REASON_LIMIT_CHARACTERS]}"
    for name in schema.get("properties", {}):
        if not _PROPERTY.fullmatch(name):
            return (
                f"$.properties: {name[:_REASON_LIMIT_CHARACTERS]!r} is no name of an input that models take: "
                "use up to 64 letters of A-Z, a-z, digits, dots, hyphens and underscores"
            )
    return None


def _is_deeper(value: object, levels: int) -> bool:
    """Whether a JSON value has more levels; level by level, as deeper ones end recursion."""
    level: list[object] = [value]
    for _ in range(levels + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return bool(level)
