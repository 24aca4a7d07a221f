"""What the API server answers, and the exception that names our reaction."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from agentservice_operator.engine.ports import AlreadyExists, Conflict, Forbidden, KubernetesError, Rejected
from agentservice_operator.kube.errors import Expired, NotFound, error_from


def refusal(code: int, reason: str = "", message: str = "", **details: Any) -> KubernetesError:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return error_from(code, orjson.dumps(body), subject="apply Deployment default/hello")


@pytest.mark.parametrize(
    ("code", "reason", "expected"),
    [
        (400, "BadRequest", Rejected),
        (401, "Unauthorized", KubernetesError),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (410, "Expired", Expired),
        (413, "RequestEntityTooLarge", Rejected),
        (422, "Invalid", Rejected),
        (429, "TooManyRequests", KubernetesError),
        (500, "InternalError", KubernetesError),
        (503, "ServiceUnavailable", KubernetesError),
        (504, "Timeout", KubernetesError),
    ],
)
def test_each_status_has_one_reaction(code: int, reason: str, expected: type[KubernetesError]) -> None:
    error = refusal(code, reason)

    assert type(error) is expected
    assert error.status == code


def test_message_names_what_was_asked_and_what_the_server_said() -> None:
    error = refusal(422, "Invalid", 'Deployment.apps "hello" is invalid: spec.selector: field is immutable')

    assert str(error).startswith("apply Deployment default/hello: 422 Deployment.apps")
    assert str(error).endswith("spec.selector: field is immutable")


def test_long_message_keeps_its_field_and_its_rule() -> None:
    error = refusal(422, "Invalid", "spec.selector: Invalid value: " + "x" * 5000 + ": field is immutable")

    assert len(str(error)) < 1000
    assert "spec.selector" in str(error)
    assert str(error).endswith("field is immutable")


def test_quota_is_told_apart() -> None:
    error = refusal(403, "Forbidden", 'configmaps "x" is forbidden: exceeded quota: q, requested: configmaps=1')

    assert isinstance(error, Forbidden)
    assert error.quota
    assert not error.terminating


def test_terminating_namespace_is_told_apart() -> None:
    error = refusal(403, "Forbidden", "no", causes=[{"reason": "NamespaceTerminating", "field": "metadata.namespace"}])

    assert isinstance(error, Forbidden)
    assert error.terminating
    assert not error.quota


def test_missing_rbac_may_pass() -> None:
    error = refusal(403, "Forbidden", 'deployments.apps is forbidden: User "x" cannot patch resource "deployments"')

    assert isinstance(error, Forbidden)
    assert not error.quota
    assert not error.terminating


@pytest.mark.parametrize(
    "message",
    [
        "deployments.apps \"hello\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
        'admission webhook "w.example.com" denied the request: no',
        'pods "hello" is forbidden: violates PodSecurity "restricted:latest": privileged',
    ],
)
def test_denial_by_admission_is_about_the_object(message: str) -> None:
    assert type(refusal(403, "Forbidden", message)) is Rejected


def test_race_on_a_quota_is_asked_again() -> None:
    assert type(refusal(409, "Conflict", "the object has been modified", kind="resourcequotas")) is KubernetesError


def test_another_uid_is_a_failed_precondition() -> None:
    assert type(refusal(422, "Invalid", "immutable", causes=[{"field": "metadata.uid"}])) is Conflict


def test_apply_that_fits_no_schema_is_not_tried_again() -> None:
    message = "failed to create typed patch object (default/x; apps/v1, Kind=Deployment): expected string"

    assert type(refusal(500, "", message)) is Rejected


def test_retry_after_comes_from_the_header_or_from_the_body() -> None:
    from_header = error_from(429, b"{}", subject="get Pod a/b", headers={"Retry-After": "3"})

    assert from_header.retry_after == 3
    assert refusal(503, retryAfterSeconds=7).retry_after == 7
    assert refusal(503).retry_after is None


def test_answer_of_a_proxy_in_between_is_quoted() -> None:
    error = error_from(502, b"<html>Bad Gateway</html>", subject="get Pod a/b")

    assert str(error) == "get Pod a/b: 502 <html>Bad Gateway</html>"
