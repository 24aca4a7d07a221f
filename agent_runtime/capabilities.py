"""What this runtime understands of a configuration: what the version of the schema does not tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from agent_runtime.config import RuntimeConfig


def capabilities() -> list[str]:
    """The fields that a configuration may leave out, and the values of closed lists, by their paths.

    Such as ``tasks.in_workers`` and ``tools.type=MCP``. A runtime ignores fields that it does not know, and refuses
    values that it does not know; who renders a configuration for an image of another version sees here which those are.
    """
    return sorted(_understood(RuntimeConfig, ""))


def _understood(model: type[BaseModel], path: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        place = f"{path}.{name}" if path else name
        if not field.is_required():
            yield place
        yield from _within(field.annotation, place)


def _within(annotation: Any, place: str) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (f"{place}={value}" for value in get_args(annotation))
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _understood(annotation, place)
    else:
        for part in get_args(annotation):
            yield from _within(part, place)
