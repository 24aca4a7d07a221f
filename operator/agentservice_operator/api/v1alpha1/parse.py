"""From JSON to an AgentService, with errors that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from agentservice_operator.api.markers import RULE_BROKEN
from agentservice_operator.api.v1alpha1.types import API_VERSION, KIND, AgentService


class InvalidSpec(Exception):  # noqa: N818 - the name of the condition's reason
    """The object is no valid AgentService; the message names the field and the remedy in one sentence."""


def parse(raw: Mapping[str, Any], *, as_written: bool = False) -> AgentService:
    """The AgentService that a JSON object is.

    Args:
        raw: The whole object, as the API server gives it.
        as_written: The object comes from a person, not from an API server: unknown fields are refused, and nulls mean
            absence, as the API server would have it.

    Raises:
        InvalidSpec: Something in it breaks the API's rules.
    """
    for field, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if raw.get(field, expected) != expected:
            raise InvalidSpec(f"{field}: {raw[field]!r} is not {expected!r}: write {field}: {expected}.")
    # Metadata is the API server's to check and may hold anything; only these parts are read strictly.
    parts = {"metadata": _known_metadata(raw.get("metadata")), "spec": raw.get("spec")}
    if as_written:
        parts = _without_nulls(parts)
    try:
        return AgentService.model_validate(
            parts, by_alias=True, by_name=False, extra="forbid" if as_written else "ignore"
        )
    except ValidationError as error:
        raise InvalidSpec(_sentence(error.errors(include_url=False)[0], parts)) from error


_METADATA = ("name", "namespace", "uid", "generation", "resourceVersion", "annotations", "deletionTimestamp")


def _known_metadata(metadata: Any) -> Any:
    if not isinstance(metadata, Mapping):
        return metadata
    return {name: metadata[name] for name in _METADATA if metadata.get(name) is not None}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _sentence(error: ErrorDetails, raw: Any) -> str:
    path = _path(error["loc"], raw)
    if error["type"] == RULE_BROKEN:
        return f"{path}{error['ctx']['field_path']}: {error['ctx']['message']}."
    match error["type"]:
        case "missing":
            return f"{path}: the field is missing: set it."
        case "extra_forbidden":
            return f"{path}: there is no such field: correct its name or remove it."
        case "model_type" | "dict_type":
            return f"{path}: an object is needed here."
        case _:
            return f"{path}: {_lower_first(error['msg'])}, but is {_short(error['input'])}."


def _path(location: Sequence[int | str], raw: Any) -> str:
    """The field as ``spec.models[0].name``, without the parts of ``location`` that only name a member of a union."""
    path, here = "", raw
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if isinstance(here, list) and part < len(here) else None
        elif isinstance(here, Mapping) and (part in here or last):
            path += f".{part}"
            here = here.get(part)
    return path.removeprefix(".")


def _lower_first(message: str) -> str:
    text = message.removeprefix("Input ")
    return text[:1].lower() + text[1:]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - as long as a terminal's line bears
