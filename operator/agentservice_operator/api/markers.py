"""What JSON Schema cannot say and a CustomResourceDefinition can, as markers for ``typing.Annotated`` and for models.

Every rule is written twice in one place: as CEL for the API server and as Python for everything that reads a spec
without one (``agentctl``, an operator behind an older CRD). Both give the same sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

VALIDATIONS = "x-kubernetes-validations"
RULE_BROKEN = "rule_broken"
"""Type of the pydantic error of a broken rule; ``ctx`` holds ``message`` and ``field_path``."""

JsonSchema = dict[str, Any]

Reason = Literal["FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden", "FieldValueDuplicate"]


@dataclass(frozen=True, slots=True)
class Cel:
    """A validation rule, on a field or in ``ApiModel.rules``.

    Args:
        rule: CEL expression over ``self``, true where the value is acceptable.
        message: Sentence for the person whose object is refused: names the field and the remedy.
        holds: The same rule in Python; None where it compares with an older object, which only the API server knows.
        field_path: Path below ``self`` that the error points at, such as ``.replicas``; it cannot lead into metadata.
        reason: Machine-readable cause of the refusal.
    """

    rule: str
    message: str
    holds: Callable[[Any], bool] | None
    field_path: str | None = None
    reason: Reason = "FieldValueInvalid"

    def check(self, value: Any) -> None:
        """Raise the pydantic error of this rule if ``value`` breaks it."""
        if self.holds is not None and not self.holds(value):
            context = {"message": self.message, "field_path": self.field_path or ""}
            raise PydanticCustomError(RULE_BROKEN, "{message}", context)

    def as_validation(self) -> JsonSchema:
        """The entry of ``x-kubernetes-validations``."""
        validation = {"rule": self.rule, "message": self.message}
        if self.reason != "FieldValueInvalid":  # the API server's default
            validation["reason"] = self.reason
        return validation | ({"fieldPath": self.field_path} if self.field_path else {})

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any) -> Any:
            if value is not None:
                self.check(value)
            return value

        return core_schema.no_info_after_validator_function(check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        schema = handler(core)
        return schema | {VALIDATIONS: [*schema.get(VALIDATIONS, []), self.as_validation()]}


def matching(pattern: str, message: str) -> Cel:
    """A rule that a string matches an anchored RE2 pattern, where the server's own message would explain nothing."""
    if not (pattern.startswith("^") and pattern.endswith("$")):
        raise ValueError(f"pattern {pattern!r} must be anchored by ^ and $")
    compiled = re.compile(pattern, re.ASCII)
    return Cel(f"self.matches({cel_string(pattern)})", message, lambda value: compiled.fullmatch(value) is not None)


def cel_string(text: str) -> str:
    """A CEL string literal; JSON's escapes are a subset of CEL's."""
    return json.dumps(text)


def member_of(discriminator: str, members: Mapping[str, str]) -> tuple[Cel, ...]:
    """Rules of a union: each member is set exactly where the discriminator asks for it.

    Args:
        discriminator: Wire name of the enum field.
        members: Wire name of the member by value of the discriminator; values without a member are left out.
    """

    def rule(value: str, member: str) -> Cel:
        return Cel(
            f"(self.{discriminator} == {cel_string(value)}) == has(self.{member})",
            f"{member} must be set where {discriminator} is {value}, and only there",
            lambda model: (wire(model, discriminator) == value) == (wire(model, member) is not None),
            f".{member}",
        )

    return tuple(rule(value, member) for value, member in members.items())


def exactly_one_of(first: str, second: str) -> Cel:
    """The rule that one of two optional fields, by wire name, is set and the other is not."""
    return Cel(
        f"has(self.{first}) != has(self.{second})",
        f"set either {first} or {second}, and not both",
        lambda model: (wire(model, first) is None) != (wire(model, second) is None),
    )


def wire(model: BaseModel | Mapping[str, Any], name: str) -> Any:
    """The value of a field by its wire name."""
    if isinstance(model, Mapping):
        return model[name]
    for attribute, field in type(model).model_fields.items():
        if name == (field.serialization_alias or attribute):
            return getattr(model, attribute)
    raise AttributeError(f"{type(model).__name__} has no field {name} on the wire")


@dataclass(frozen=True, slots=True)
class Immutable:
    """The field never changes once set. Not inside atomic lists: there the API server cannot find the older value."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        rule = Cel("self == oldSelf", "the field is immutable: delete the object and create it anew", None)
        return rule.__get_pydantic_json_schema__(core, handler)


class ListMap:
    """A list that is a map: server-side apply merges its items by ``keys``, which are required and unique."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._refuse_duplicates, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return handler(core) | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(self.keys)}

    def _refuse_duplicates(self, items: Sequence[Any]) -> Sequence[Any]:
        seen = set()
        for item in items:
            key = tuple(wire(item, name) for name in self.keys)
            if key in seen:
                named = ", ".join(f"{name} {value}" for name, value in zip(self.keys, key, strict=True))
                message = f"two entries have the {named}: rename or remove one"
                raise PydanticCustomError(RULE_BROKEN, "{message}", {"message": message, "field_path": ""})
            seen.add(key)
        return items


@dataclass(frozen=True, slots=True)
class SetList:
    """A list of unique scalars; server-side apply merges it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def refuse_duplicates(items: Sequence[Any]) -> Sequence[Any]:
            if len(set(items)) < len(items):
                message = "an entry is there twice: remove one"
                raise PydanticCustomError(RULE_BROKEN, "{message}", {"message": message, "field_path": ""})
            return items

        return core_schema.no_info_after_validator_function(refuse_duplicates, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        schema = {key: value for key, value in handler(core).items() if key != "uniqueItems"}
        return schema | {"x-kubernetes-list-type": "set"}


@dataclass(frozen=True, slots=True)
class Atomic:
    """A list, map or object that has one owner and is replaced as a whole."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        schema = handler(core)
        kind = "list" if handler.resolve_ref_schema(_present(schema)).get("type") == "array" else "map"
        return schema | {f"x-kubernetes-{kind}-type": "atomic"}


@dataclass(frozen=True, slots=True)
class IntOrString:
    """A union of an integer and a string, which OpenAPI types cannot say: ports, percentages, quantities.

    The bounds of both members stay: those of numbers judge only integers, those of strings only strings.
    """

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        members = {member.get("type"): member for member in handler(core).get("anyOf", ())}
        if set(members) != {"integer", "string"}:
            raise TypeError(f"IntOrString marks a union of an integer and a string, not of {sorted(map(str, members))}")
        bounds = {key: value for member in members.values() for key, value in member.items() if key != "type"}
        return {"x-kubernetes-int-or-string": True} | bounds


@dataclass(frozen=True, slots=True)
class PreserveUnknown:
    """Raw JSON that another API validates; keep to named escape hatches."""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        schema = {key: value for key, value in handler(core).items() if key != "additionalProperties"}
        return schema | {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@dataclass(frozen=True, slots=True)
class RawAs:
    """JSON that is passed on as it was written, and checked against a model: a part that another API defines."""

    model: type[BaseModel]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def keep(value: Any, validate: Callable[[Any], Any]) -> Any:
            validate(value)
            return value

        return core_schema.no_info_wrap_validator_function(keep, handler.generate_schema(self.model))


def _present(schema: JsonSchema) -> JsonSchema:
    """The schema of the value where there is one: an optional field without its null."""
    members = [member for member in schema.get("anyOf", ()) if member != {"type": "null"}]
    return members[0] if len(members) == 1 else schema
