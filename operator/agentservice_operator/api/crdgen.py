"""Generates a CustomResourceDefinition from Pydantic models; refuses what the API server would refuse or misread.

Pydantic emits JSON Schema, the API server reads *structural* schemas, a subset with its own extensions. Sources:
Kubernetes documentation "Extend the Kubernetes API with CustomResourceDefinitions" (structural schemas, defaulting,
validation rules, merge strategy) and the API conventions (optional and required, lists as maps).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from agentservice_operator.api.markers import VALIDATIONS, Cel, JsonSchema

MAX_BYTES = 100_000
"""Largest definition: client-side ``kubectl apply`` keeps a copy in an annotation of at most 262144 bytes."""

_ALLOWED = frozenset({
    "additionalProperties", "default", "description", "enum", "exclusiveMaximum", "exclusiveMinimum", "format", "items",
    "maxItems", "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum",
    "multipleOf", "pattern", "properties", "required", "type", VALIDATIONS, "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
})  # fmt: skip
_BOUNDED_FORMATS = frozenset({"date-time", "date"})


class CrdError(Exception):
    """The models cannot be said as a structural schema; the message names the field."""


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """A column of ``kubectl get``; ``priority`` 1 shows it only with ``-o wide``."""

    name: str
    json_path: str
    description: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Scale:
    """Paths of the ``/scale`` subresource."""

    spec_replicas: str
    status_replicas: str
    label_selector: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A custom resource: its names, its models, how kubectl shows it.

    Args:
        rules: Rules over the whole object; of metadata they see name and generateName.
        status_default: What a fresh object's status says.
    """

    group: str
    version: str
    kind: str
    plural: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    status_default: Mapping[str, Any]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    rules: tuple[Cel, ...] = ()
    columns: tuple[PrinterColumn, ...] = ()
    scale: Scale | None = None


def custom_resource_definition(resource: Resource) -> JsonSchema:
    """The definition to apply to a cluster.

    Raises:
        CrdError: A field has no description, no bound, or a type that a structural schema cannot say.
    """
    names = {"kind": resource.kind, "listKind": f"{resource.kind}List", "plural": resource.plural}
    names["singular"] = resource.kind.lower()
    subresources: JsonSchema = {"status": {}}
    if resource.scale:
        subresources["scale"] = {
            "specReplicasPath": resource.scale.spec_replicas,
            "statusReplicasPath": resource.scale.status_replicas,
            "labelSelectorPath": resource.scale.label_selector,
        }
    version = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _object_schema(resource)},
        "subresources": subresources,
        "additionalPrinterColumns": [_column(column) for column in resource.columns],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "names": names | {"shortNames": list(resource.short_names), "categories": list(resource.categories)},
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def structural_schema(model: type[BaseModel], path: str = "") -> JsonSchema:
    """The structural schema of one model.

    Args:
        model: Its fields' wire names become the properties.
        path: Where the model stands in the object, for messages.

    Raises:
        CrdError: See ``custom_resource_definition``.
    """
    raw = model.model_json_schema(by_alias=True, schema_generator=_StaticDefaults)
    return _Walk(raw.pop("$defs", {})).schema(raw, path or model.__name__, ())


class _StaticDefaults(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        """A nested model's default says only what was set on it: the rest are the defaults of its own fields."""
        if isinstance(dft, BaseModel):
            return dft.model_dump(by_alias=True, exclude_unset=True)
        return super().encode_default(dft)


def _object_schema(resource: Resource) -> JsonSchema:
    status = structural_schema(resource.status, "status")
    schema: JsonSchema = {
        "type": "object",
        "description": resource.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {
                "type": "string",
                "description": "Group and version of the API that the object is written in.",
            },
            "kind": {"type": "string", "description": "Kind of the object."},
            "metadata": {"type": "object"},
            "spec": structural_schema(resource.spec, "spec"),
            "status": status | {"default": dict(resource.status_default)},
        },
    }
    if resource.rules:
        schema[VALIDATIONS] = [rule.as_validation() for rule in resource.rules]
    return schema


def _column(column: PrinterColumn) -> JsonSchema:
    printed = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.json_path,
        "description": column.description,
    }
    return printed | ({"priority": column.priority} if column.priority else {})


@dataclass(frozen=True, slots=True)
class _Walk:
    """Turns JSON Schema as Pydantic emits it into a structural schema, top-down."""

    definitions: Mapping[str, JsonSchema]

    def schema(self, raw: JsonSchema, path: str, inside: tuple[str, ...]) -> JsonSchema:
        schema, inside = self._without_indirection(raw, path, inside)
        schema = _in_kubernetes_words(schema, path)
        if unknown := sorted(set(schema) - _ALLOWED):
            raise CrdError(f"{path}: a structural schema cannot say {', '.join(unknown)}")
        match schema.get("type"):
            case "object":
                self._object(schema, path, inside)
            case "array":
                self._array(schema, path, inside)
            case "string":
                _demand(path, _is_bounded_string(schema), "a string needs max_length, an enum or a date format")
            case "integer" | "number" | "boolean":
                pass
            case other:
                _demand(path, "x-kubernetes-int-or-string" in schema, f"no structural schema for the type {other}")
                _demand(path, "maxLength" in schema, "the string of an IntOrString needs max_length")
        return dict(sorted(schema.items()))

    def _without_indirection(
        self, raw: JsonSchema, path: str, inside: tuple[str, ...]
    ) -> tuple[JsonSchema, tuple[str, ...]]:
        """Inline references and optional members; what stands beside them wins, rules add up."""
        schema = dict(raw)
        while True:
            if reference := schema.pop("$ref", None):
                name = reference.removeprefix("#/$defs/")
                _demand(path, name not in inside, f"{name} contains itself; a structural schema cannot recurse")
                inside = (*inside, name)
                schema = _merged(self.definitions[name], schema)
            elif members := schema.pop("anyOf", None):
                present = [member for member in members if member != {"type": "null"}]
                _demand(path, len(present) == 1, "a union needs a discriminator and optional members, or IntOrString")
                schema = _merged(present[0], schema)
                if schema.get("default", ...) is None:
                    del schema["default"]
            else:
                return schema, inside

    def _object(self, schema: JsonSchema, path: str, inside: tuple[str, ...]) -> None:
        if "x-kubernetes-preserve-unknown-fields" in schema:
            _drop_empty_default(schema)
            return
        if "additionalProperties" in schema:
            values = schema["additionalProperties"]
            _demand(path, isinstance(values, dict) and bool(values), "a map of anything needs PreserveUnknown")
            _demand(path, "maxProperties" in schema, "a map needs max_length")
            schema["additionalProperties"] = self.schema(values, f"{path}.*", inside)
            _drop_empty_default(schema)
            return
        properties = {}
        for name, raw in schema.get("properties", {}).items():
            properties[name] = self.schema(raw, f"{path}.{name}", inside)
            _demand(f"{path}.{name}", bool(properties[name].get("description")), "the field needs a description")
        schema["properties"] = properties
        if VALIDATIONS in schema and isinstance(default := schema.get("default"), dict):
            # The API server tries the rules on the default itself, before it fills in the defaults below it.
            schema["default"] = {name: field["default"] for name, field in properties.items() if "default" in field}
            schema["default"] |= default
        if schema.get("default") == {} and not any("default" in field for field in properties.values()):
            del schema["default"]
        for rule in schema.get(VALIDATIONS, ()):
            for name in re.findall(r"\bhas\(self\.(\w+)\)", rule["rule"]):
                _demand(f"{path}.{name}", name in properties, "a rule names the field, but there is none")
                message = "a rule asks whether the field is set, but its default always sets it"
                _demand(f"{path}.{name}", "default" not in properties[name], message)

    def _array(self, schema: JsonSchema, path: str, inside: tuple[str, ...]) -> None:
        _demand(path, "maxItems" in schema, "a list needs max_length")
        list_type = schema.get("x-kubernetes-list-type")
        _demand(path, list_type is not None, "a list needs ListMap, SetList or Atomic")
        schema["items"] = items = self.schema(schema.get("items", {}), f"{path}[]", inside)
        _drop_empty_default(schema)
        if list_type == "set":
            _demand(path, items.get("type") not in {"object", "array"}, "a SetList holds scalars")
        if list_type == "map":
            properties = items.get("properties", {})
            for key in schema["x-kubernetes-list-map-keys"]:
                kept = key in properties and (key in items.get("required", ()) or "default" in properties[key])
                _demand(f"{path}[].{key}", kept, "a key of a ListMap must be required or have a default")
        if list_type == "atomic":
            _demand(path, not _compares_with_older(items), "Immutable does not work inside an atomic list")


def _in_kubernetes_words(schema: JsonSchema, path: str) -> JsonSchema:
    words = {key: value for key, value in schema.items() if key != "title"}
    if "const" in words:
        words["enum"] = [words.pop("const")]
    if "description" in words:
        words["description"] = _one_line_per_paragraph(words["description"])
    for bound, exclusive, step in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        if exclusive in words:
            _demand(path, bound not in words, f"{bound} and {exclusive} exclude each other")
            whole = words.get("type") == "integer"
            words[bound] = words[exclusive] + step if whole else words[exclusive]
            words[exclusive] = True
            if whole:
                del words[exclusive]
    return words


def _merged(inner: JsonSchema, outer: JsonSchema) -> JsonSchema:
    rules = [*inner.get(VALIDATIONS, ()), *outer.get(VALIDATIONS, ())]
    return {**inner, **outer, **({VALIDATIONS: rules} if rules else {})}


def _drop_empty_default(schema: JsonSchema) -> None:
    """An empty list or map says what its absence says, and would clutter every stored object."""
    if schema.get("default") in ([], {}):
        del schema["default"]


def _is_bounded_string(schema: JsonSchema) -> bool:
    return "maxLength" in schema or "enum" in schema or schema.get("format") in _BOUNDED_FORMATS


def _compares_with_older(schema: JsonSchema) -> bool:
    below = [*schema.get("properties", {}).values(), *(schema[key] for key in ("items",) if key in schema)]
    return any("oldSelf" in rule["rule"] for rule in schema.get(VALIDATIONS, ())) or any(
        map(_compares_with_older, below)
    )


def _one_line_per_paragraph(text: str) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _demand(path: str, holds: bool, message: str) -> None:  # noqa: FBT001 - reads as the assertion that it is
    if not holds:
        raise CrdError(f"{path}: {message}")
