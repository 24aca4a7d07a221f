"""What all types of the API are made of: the model's behaviour, names, references, labels."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from agentservice_operator.api.markers import VALIDATIONS, Cel, JsonSchema, cel_string

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED_NAME = rf"^({_SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"
_RESERVED_PREFIX = r"^([a-z0-9.-]+\.)?agentservice\.dev/|^app\.kubernetes\.io/"


def _put_rules_into_schema(schema: JsonSchema, model: type[BaseModel]) -> None:
    if issubclass(model, ApiModel) and model.rules:
        schema[VALIDATIONS] = [rule.as_validation() for rule in model.rules]


class ApiModel(BaseModel):
    """Base of every API type: immutable, read by wire name, tolerant of fields that a newer CRD added.

    A field's docstring is its description, ``rules`` are what several fields must hold together.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        json_schema_extra=_put_rules_into_schema,
    )
    rules: ClassVar[tuple[Cel, ...]] = ()

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.rules:
            rule.check(self)
        return self


def _all_keys(pattern: str, message: str, *, match: bool = True) -> Cel:
    """A rule that every key of a map matches a pattern, or that none does."""
    compiled = re.compile(pattern, re.ASCII)
    return Cel(
        f"self.all(key, {'' if match else '!'}key.matches({cel_string(pattern)}))",
        message,
        lambda entries: all((compiled.search(key) is not None) == match and "\n" not in key for key in entries),
    )


SHORT_KEYS = Cel(
    "self.all(key, size(key) <= 253)",
    "a key has more than 253 characters: shorten it",
    lambda entries: all(len(key) <= 253 for key in entries),  # noqa: PLR2004 - the rule's own figure
)
QUALIFIED_KEYS = _all_keys(
    _QUALIFIED_NAME,
    "every key must be a name of at most 63 letters, digits, '-', '_' or '.', after an optional DNS prefix and '/'",
)
UNRESERVED_KEYS = _all_keys(
    _RESERVED_PREFIX,
    "keys under agentservice.dev/ and app.kubernetes.io/ are set by the operator: use a prefix of your own",
    match=False,
)

DnsLabel = Annotated[str, Field(min_length=1, max_length=63, pattern=rf"^{_LABEL}$")]
DnsSubdomain = Annotated[str, Field(min_length=1, max_length=253, pattern=rf"^{_SUBDOMAIN}$")]
DataKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^\.?[-_A-Za-z0-9][-._A-Za-z0-9]*$")]
"""A key of a Secret or ConfigMap: a file name, so neither ``.`` nor anything that begins with ``..``."""

LabelValue = Annotated[str, Field(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")]
NodeLabels = Annotated[dict[str, LabelValue], Field(max_length=32), SHORT_KEYS, QUALIFIED_KEYS]
Labels = Annotated[dict[str, LabelValue], Field(max_length=64), SHORT_KEYS, QUALIFIED_KEYS, UNRESERVED_KEYS]
AnnotationValue = Annotated[str, Field(max_length=4096)]
Annotations = Annotated[dict[str, AnnotationValue], Field(max_length=64), SHORT_KEYS, QUALIFIED_KEYS, UNRESERVED_KEYS]

RAW_LEVELS = 64
"""Of what may nest in a raw field; Kubernetes' own types have about 15, serializers end at 255."""


def _not_too_deep(raw: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [raw]
    for _ in range(RAW_LEVELS):
        level = [child for parent in level for child in (parent.values() if isinstance(parent, dict) else parent)]
        level = [child for child in level if isinstance(child, dict | list)]
        if not level:
            return raw
    raise PydanticCustomError(
        "too_deep", "the value nests deeper than {levels} levels: flatten it", {"levels": RAW_LEVELS}
    )


RawObject = Annotated[dict[str, Any], AfterValidator(_not_too_deep)]


class SecretKeyRef(ApiModel):
    """One key of a Secret in the namespace of the AgentService."""

    name: DnsSubdomain
    """Name of the Secret."""
    key: DataKey
    """Key in the Secret's data."""


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap in the namespace of the AgentService."""

    name: DnsSubdomain
    """Name of the ConfigMap."""
    key: DataKey
    """Key in the ConfigMap's data."""


class LocalObjectReference(ApiModel):
    """An object in the namespace of the AgentService."""

    name: DnsSubdomain
    """Name of the object."""
