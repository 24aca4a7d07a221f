"""Errors as callers see them: RFC 9457 problem details with a code from one list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CATALOGUE: dict[str, ProblemKind] = {}
"""Every kind of problem by its code; docs/runtime.md lists them too."""


@dataclass(frozen=True)
class ProblemKind:
    """One entry of the catalogue.

    Args:
        code: stable name for programs.
        status: HTTP status.
        title: what it is, for people, the same for every occurrence.
        repeatable: whether the same request may be sent again. The official clients of OpenAI and Anthropic repeat
            409, 429 and every 5xx by themselves unless told not to.
    """

    code: str
    status: int
    title: str
    repeatable: bool = True

    def __post_init__(self) -> None:
        """List it in the catalogue."""
        CATALOGUE[self.code] = self


MALFORMED_JSON = ProblemKind("malformed_json", 400, "The body is not JSON")
INVALID_HEADER = ProblemKind("invalid_header", 400, "A header does not have the expected form")
UNAUTHENTICATED = ProblemKind("unauthenticated", 401, "A valid API key is needed")
NOT_FOUND = ProblemKind("not_found", 404, "There is nothing at this path")
AGENT_NOT_FOUND = ProblemKind("agent_not_found", 404, "There is no such agent")
CONVERSATION_NOT_FOUND = ProblemKind("conversation_not_found", 404, "There is no such conversation")
TASK_NOT_FOUND = ProblemKind("task_not_found", 404, "There is no such task")
APPROVAL_NOT_FOUND = ProblemKind("approval_not_found", 404, "The task awaits no such approval")
RUN_NOT_FOUND = ProblemKind("run_not_found", 404, "There is no such run")
METHOD_NOT_ALLOWED = ProblemKind("method_not_allowed", 405, "This path does not take this method")
BODY_TIMEOUT = ProblemKind("body_timeout", 408, "The body did not arrive in time")
CONVERSATION_BUSY = ProblemKind("conversation_busy", 409, "The conversation is answering another request")
IDEMPOTENCY_IN_FLIGHT = ProblemKind("idempotency_in_flight", 409, "The request with this key is being answered")
TASK_FINISHED = ProblemKind("task_finished", 409, "The task has ended", repeatable=False)
TASK_UNFINISHED = ProblemKind("task_unfinished", 409, "The task has not ended", repeatable=False)
APPROVAL_DECIDED = ProblemKind("approval_decided", 409, "The call was decided otherwise", repeatable=False)
BODY_TOO_LARGE = ProblemKind("body_too_large", 413, "The body is too large")
UNSUPPORTED_MEDIA_TYPE = ProblemKind("unsupported_media_type", 415, "The body must be application/json")
INVALID_INPUT = ProblemKind("invalid_input", 422, "The body does not have the expected form")
IDEMPOTENCY_KEY_REUSED = ProblemKind("idempotency_key_reused", 422, "The key belongs to another request")
TOO_MANY_TASKS = ProblemKind("too_many_tasks", 429, "There is no room for a further task", repeatable=False)
TOO_MANY_FOLLOWERS = ProblemKind("too_many_followers", 429, "There is no room for a further follower")
RUN_CANCELED = ProblemKind("run_canceled", 499, "Its caller left, and the run ended")
RUN_INTERRUPTED = ProblemKind("run_interrupted", 500, "The process that answered has ended")
INTERNAL_ERROR = ProblemKind("internal_error", 500, "The runtime failed")
TASK_ABANDONED = ProblemKind("task_abandoned", 500, "The task ends the process that runs it", repeatable=False)
ANSWER_INVALID = ProblemKind(
    "answer_invalid", 502, "The model's answer is not of the form that was asked for", repeatable=False
)
UPSTREAM_UNAUTHORIZED = ProblemKind("upstream_unauthorized", 502, "The provider refused our key", repeatable=False)
UPSTREAM_REJECTED = ProblemKind("upstream_rejected", 502, "The provider refused the request", repeatable=False)
UPSTREAM_MODEL_NOT_FOUND = ProblemKind(
    "upstream_model_not_found", 502, "The provider does not know the model", repeatable=False
)
UPSTREAM_UNAVAILABLE = ProblemKind("upstream_unavailable", 502, "The provider cannot be reached or failed")
UPSTREAM_INTERRUPTED = ProblemKind("upstream_interrupted", 502, "The provider broke off its answer")
OVERLOADED = ProblemKind("overloaded", 503, "There are too many requests at once")
SHUTTING_DOWN = ProblemKind("shutting_down", 503, "This replica is shutting down")
STATE_UNAVAILABLE = ProblemKind("state_unavailable", 503, "The state cannot be read or kept", repeatable=False)
UPSTREAM_OVERLOADED = ProblemKind("upstream_overloaded", 503, "The provider is overloaded or limits us")
DEADLINE_EXCEEDED = ProblemKind("deadline_exceeded", 504, "The answer was not complete in time", repeatable=False)
APPROVAL_EXPIRED = ProblemKind("approval_expired", 504, "Nobody decided in time", repeatable=False)
UPSTREAM_TIMEOUT = ProblemKind(
    "upstream_timeout", 504, "The provider did not begin to answer in time", repeatable=False
)


class ProblemError(Exception):
    """A request cannot be answered as asked, for a reason that its caller may know.

    Args:
        kind: entry of the catalogue.
        detail: one sentence on this occurrence, for people; never holds a secret or a prompt.
        errors: single faults of the input, as `{"pointer": JSON pointer, "detail": sentence}`.
        retry_after: whole seconds after which the request may be repeated.
        headers: further response headers.
    """

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{kind.code}: {detail}")
        self.kind = kind
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        self.headers = headers or {}

    def document(self, *, path: str, request_id: str) -> dict[str, Any]:
        """The problem details object for the request to `path`."""
        document: dict[str, Any] = {
            "type": f"urn:agentservice:problem:{self.kind.code}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "instance": path,
            "code": self.kind.code,
            "request_id": request_id,
        }
        if self.errors:
            document["errors"] = self.errors
        return document
