"""Every value that is made for a field: the API server takes the valid ones, and refuses the broken ones."""

from __future__ import annotations

import http.client

import pytest

from dev.api_client import ApiError
from dev.cluster import Cluster
from tests.controlplane.agent_services import agent_service
from tests.unit.transitions.cases import cases
from tests.unit.transitions.leaves import Leaf, Spec, leaves

pytestmark = pytest.mark.usefixtures("crd")


@pytest.mark.parametrize("leaf", leaves(), ids=str)
def test_act_5_the_api_server_refuses_what_is_broken_and_takes_what_is_not(cluster: Cluster, leaf: Leaf) -> None:
    mistaken = [str(case) for case in cases(leaf) if is_taken(cluster, case.after) != case.valid]

    assert mistaken == []


def is_taken(cluster: Cluster, spec: Spec) -> bool:
    try:
        cluster.api.create(agent_service("default") | {"spec": spec}, dryRun="All", fieldValidation="Strict")
    except ApiError as error:
        if error.code not in {http.client.BAD_REQUEST, http.client.UNPROCESSABLE_ENTITY}:
            raise
        return False
    return True
