"""Every value that is made for a field, and every bound of what holds fields: taken where it is valid, else refused.

Together with the errors of ``error_states.py`` this is all of ACT-5: what is broken is refused in the AgentService, or
in a child, and then it is one of those errors, which leave the running pods alone.
"""

from __future__ import annotations

import http.client
from typing import Any

import pytest

from dev.api_client import ApiError
from dev.cluster import Cluster
from tests.controlplane.agent_services import agent_service, identity
from tests.unit.transitions.branches import KEYS, LIST_TYPE, branches, broken
from tests.unit.transitions.cases import Case, Sort, cases
from tests.unit.transitions.effects import children
from tests.unit.transitions.leaves import Leaf, Spec, leaves

pytestmark = pytest.mark.usefixtures("crd")

REFUSALS = {
    "type": "FieldValueTypeInvalid",
    "required": "FieldValueRequired",
    "minItems": "FieldValueInvalid",
    "maxItems": "FieldValueTooMany",
    "maxProperties": "FieldValueTooMany",
    KEYS: "FieldValueDuplicate",
    LIST_TYPE: "FieldValueDuplicate",
}
"""What the API server calls it when a bound is broken."""


@pytest.mark.parametrize("leaf", leaves(), ids=str)
def test_act_5_the_api_server_refuses_what_is_broken_and_takes_what_is_not(cluster: Cluster, leaf: Leaf) -> None:
    mistaken = [str(case) for case in cases(leaf) if (refusal(cluster, case.after) == set()) != case.valid]

    assert mistaken == []


@pytest.mark.parametrize("branch", branches(), ids=str)
def test_act_5_the_api_server_refuses_every_broken_bound_for_what_it_is(cluster: Cluster, branch: Leaf) -> None:
    seen = {str(case): (REFUSALS[case.bound], refusal(cluster, case.spec)) for case in broken(branch)}

    assert {case: told for case, (wanted, told) in seen.items() if wanted not in told} == {}


@pytest.mark.parametrize("leaf", leaves(), ids=str)
def test_act_5_what_an_agent_service_takes_is_taken_in_its_children_or_is_an_error_state(
    cluster: Cluster, leaf: Leaf
) -> None:
    mistaken = [
        str(case)
        for case in cases(leaf)
        if case.valid and (refused_children(cluster, case) == []) == (case.sort is Sort.REJECTED)
    ]

    assert mistaken == []


def refusal(cluster: Cluster, spec: Spec) -> set[str]:
    """Why the API server refuses an AgentService; nothing where it takes it."""
    return refused(cluster, agent_service("default") | {"spec": spec})


def refused_children(cluster: Cluster, case: Case) -> list[str]:
    """The children that change with a case and are refused then."""
    before = {identity(child): child for child in children(case.before)}
    changed = [child for child in children(case.after) if child != before.get(identity(child))]
    return [identity(child) for child in changed if refused(cluster, placed(child))]


def placed(child: dict[str, Any]) -> dict[str, Any]:
    """A child where no namespace has to be made for it."""
    return {**child, "metadata": {**child["metadata"], "namespace": "default"}}


def refused(cluster: Cluster, body: dict[str, Any]) -> set[str]:
    """The reasons for which an object would be refused."""
    try:
        cluster.api.create(body, dryRun="All", fieldValidation="Strict")
    except ApiError as error:
        if error.code not in {http.client.BAD_REQUEST, http.client.UNPROCESSABLE_ENTITY}:
            raise
        causes = (error.status.get("details") or {}).get("causes") or [{"reason": error.reason}]
        return {str(cause["reason"]) for cause in causes}
    return set()
