"""The bodies that callers send: read once, checked in one place, refused with the same words everywhere."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ValidationError
from starlette.requests import ClientDisconnect, Request

from agent_runtime.api.errors import INVALID_INPUT, MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE, ProblemError
from agent_runtime.pipeline.interruption import ClientGoneError

FAULTS_LISTED = 100
"""A body has room for 100,000 faults; listing them would hold the loop, and everybody else, for a second."""

Body = TypeVar("Body", bound=BaseModel)


def _no_text(value: Any) -> Any:
    if isinstance(value, str | bool):
        raise ValueError("must be a number")  # noqa: TRY004 - Pydantic takes this for a fault of the input
    return value


NO_TEXT = BeforeValidator(_no_text)
"""Of a number in a body: JSON knows one kind of them, so 7.0 is an integer, and "7" is not."""


async def read_json(request: Request, model: type[Body]) -> Body:
    """The body of `request` as a `model`.

    Raises:
        ProblemError: it is of another media type, not JSON, or not as the model wants it.
        ClientGoneError: the caller left before it was complete.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise ProblemError(
            UNSUPPORTED_MEDIA_TYPE, f"Send Content-Type: application/json, not {media_type[:100] or 'none at all'}."
        )
    try:
        raw = await request.body()
    except ClientDisconnect:
        raise ClientGoneError from None
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        raise refusal(error) from None


def read_query(request: Request, model: type[Body]) -> Body:
    """The query of `request` as a `model`.

    Raises:
        ProblemError: it is not as the model wants it.
    """
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name = ".".join(map(str, fault["loc"]))[:100]
    raise ProblemError(INVALID_INPUT, f"{name}: {fault['msg']}", errors=[{"parameter": name, "detail": fault["msg"]}])


def refusal(error: ValidationError, *, within: str = "") -> ProblemError:
    """What a caller is told of an input that is refused.

    Args:
        error: the faults.
        within: JSON pointer to the part of the body that was checked.
    """
    if error.error_count() > FAULTS_LISTED:
        return ProblemError(INVALID_INPUT, f"{within or 'The body'} has {error.error_count()} faults.")
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return ProblemError(MALFORMED_JSON, faults[0]["msg"])
    errors = [
        {"pointer": within + "".join(f"/{_escaped(part)}" for part in fault["loc"] if not _is_tag(part))}
        | {"detail": fault["msg"]}
        for fault in faults
    ]
    first = errors[0]
    return ProblemError(INVALID_INPUT, f"{first['pointer'] or 'The body'}: {first['detail']}", errors=errors)


def _is_tag(part: str | int) -> bool:
    """Whether it only says which member of a union was meant: our unions write that in parentheses."""
    return isinstance(part, str) and part.startswith("(") and part.endswith(")")


def _escaped(part: str | int) -> str:
    """One reference token of a JSON pointer (RFC 6901)."""
    return str(part).replace("~", "~0").replace("/", "~1")
