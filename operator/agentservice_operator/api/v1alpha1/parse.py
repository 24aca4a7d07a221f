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
        parts = without_nulls(parts)
    try:
        return AgentService.model_validate(
            parts, by_alias=True, by_name=False, extra="forbid" if as_written else "ignore"
        )
    except ValidationError as error:
        raise InvalidSpec(explain(error, parts)) from error


def explain(error: ValidationError, raw: Any) -> str:
    """The first of what is wrong with some JSON, in one sentence that names the field and the remedy."""
    return _sentence(_first(error.errors(include_url=False)), raw)


def without_nulls(value: Any) -> Any:
    """JSON in which nulls mean absence, as the API server would have it."""
    if isinstance(value, Mapping):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


_METADATA = ("name", "namespace", "uid", "generation", "resourceVersion", "annotations", "deletionTimestamp")


def _known_metadata(metadata: Any) -> Any:
    if not isinstance(metadata, Mapping):
        return metadata
    return {name: metadata[name] for name in _METADATA if metadata.get(name) is not None}


def _first(errors: list[ErrorDetails]) -> ErrorDetails:
    """The first error; of a value that may be an integer or a string, the one that is about the type it has."""
    first = errors[0]
    rivals = [error for error in errors if error["loc"][:-1] == first["loc"][:-1] and error["input"] is first["input"]]
    return next((error for error in rivals if error["type"] not in {"int_type", "string_type"}), first)


def _sentence(error: ErrorDetails, raw: Any) -> str:
    path = _path(error["loc"], raw)
    if error["type"] == RULE_BROKEN:
        where = (path + error["ctx"]["field_path"]).removeprefix(".")
        return f"{where}: {error['ctx']['message']}." if where else f"{error['ctx']['message']}."
    match error["type"]:
        case "missing":
            return f"{path}: the field is missing: set it."
        case "extra_forbidden":
            return f"{path}: there is no such field: correct its name or remove it."
        case "model_type" | "dict_type":
            return f"{path}: an object is needed here."
        case _:
            # Without the value: a person may have put a secret there.
            return f"{path}: {_in_our_words(error['msg'])}."


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


_SUBJECTS = {"Input": "the value", "String": "the text", "List": "the list", "Dictionary": "the map"}


def _in_our_words(message: str) -> str:
    subject, _, rest = message.partition(" ")
    return f"{_SUBJECTS.get(subject, subject)} {rest}".replace(" after validation", "")
