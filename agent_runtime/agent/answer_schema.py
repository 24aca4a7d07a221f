"""Whether an answer has the form that its caller asked for: a provider promises it, and may break off midway."""

from __future__ import annotations

from typing import Any

import jsonschema  # type: ignore[import-untyped]  # has no types
import orjson
from referencing import Registry

from agent_runtime.api.errors import ANSWER_INVALID, ProblemError


def check_answer(text: str, schema: dict[str, Any]) -> None:
    """See that `text` is JSON and meets `schema`; takes time, so not on the loop.

    Raises:
        ProblemError: it does not.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ProblemError(ANSWER_INVALID, "It is not JSON, or not all of it.") from None
    validator = jsonschema.Draft202012Validator(schema, registry=Registry())  # an empty one: nothing is fetched
    fault = next(validator.iter_errors(document), None)
    if fault is not None:
        raise ProblemError(ANSWER_INVALID, f"{fault.json_path} does not meet {fault.validator} of the schema.")
