"""The form in which a caller wants an answer: a JSON schema, bounded so that to check an answer stays cheap.

JSON Schema 2020-12 (https://json-schema.org/draft/2020-12), less what may take long to check.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import jsonschema  # type: ignore[import-untyped]  # has no types
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_SCHEMA_BYTES = 16 * 1024
MAX_SUBSCHEMAS = 200
"""With each reference counted as what it refers to: a few lines can refer to each other exponentially, or for ever."""

_REFUSED = {
    "pattern": "expressions can take for ever to match",
    "patternProperties": "expressions can take for ever to match",
    "$dynamicRef": "only $ref is known",
    "$recursiveRef": "only $ref is known",
    "$id": "a schema is known by no address",
}
_NOT_SCHEMAS = frozenset({"const", "default", "enum", "examples"})
"""Keywords whose values are data."""
_NAMED_SCHEMAS = frozenset({"$defs", "definitions", "dependentSchemas", "properties"})
"""Keywords whose values are schemas by name: the names are no keywords."""


def _checked(schema: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(schema, allow_nan=False)) > MAX_SCHEMA_BYTES:
        raise ValueError(f"is larger than {MAX_SCHEMA_BYTES} bytes")
    if schema.get("type") != "object":
        raise ValueError('must have "type": "object"')
    for count, _ in enumerate(_subschemas(schema, schema), start=1):
        if count > MAX_SUBSCHEMAS:
            raise ValueError(f"has more than {MAX_SUBSCHEMAS} subschemas, references resolved, or refers to itself")
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise ValueError(f"is no JSON schema: {error.json_path}: {error.message[:200]}") from None
    return schema


class ResponseFormat(BaseModel):
    """A JSON schema that the answer must meet."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type: Literal["json_schema"]
    definition: Annotated[
        dict[str, Any],
        AfterValidator(_checked),
        Field(
            alias="schema",
            json_schema_extra={"properties": {"type": {"const": "object"}}, "required": ["type"]},
        ),
    ]


def _subschemas(schema: Any, root: dict[str, Any]) -> Iterator[None]:
    """Go through the schemas that `schema` consists of.

    Raises:
        ValueError: one has a keyword that is refused.
    """
    yield
    if not isinstance(schema, dict):
        return
    for keyword, value in schema.items():
        if keyword in _REFUSED:
            raise ValueError(f"{keyword} is refused: {_REFUSED[keyword]}")
        if keyword == "$ref":
            yield from _subschemas(_referred(value, root), root)
        elif keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            for part in value.values():
                yield from _subschemas(part, root)
        elif keyword not in _NOT_SCHEMAS:
            parts = value if isinstance(value, list) else [value]
            for part in parts:
                if isinstance(part, dict):
                    yield from _subschemas(part, root)


def _referred(reference: Any, root: dict[str, Any]) -> Any:
    match str(reference).split("/"):
        case ["#", "$defs" | "definitions" as section, name]:
            definitions = root.get(section)
            if isinstance(definitions, dict) and name in definitions:
                return definitions[name]
    raise ValueError("$ref must name a schema under $defs, as #/$defs/NAME")
