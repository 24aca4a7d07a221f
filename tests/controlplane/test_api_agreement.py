"""The API server and ``parse`` agree on what a valid AgentService is: whatever one takes, the other takes.

Objects come out of the definition's own schema, some of them broken on purpose. In the raw fields (affinity, metrics,
behavior) there is nothing to agree on: both pass them on.
"""

from __future__ import annotations

from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.parse import InvalidSpec, parse
from hypothesis import HealthCheck, given, note, settings

from dev.api_client import ApiError
from dev.cluster import Cluster
from tests.controlplane.generated_services import agent_services

pytestmark = pytest.mark.usefixtures("crd")

EXAMPLES = 100


def test_what_the_api_server_takes_is_never_an_invalid_spec_and_the_reverse(cluster: Cluster) -> None:
    taken: list[dict[str, Any]] = []
    refused: list[str] = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(agent_services())
    def agree(service: dict[str, Any]) -> None:
        try:
            stored = cluster.api.create(service, dryRun="All", fieldValidation="Strict")
        except ApiError as error:
            note(f"the API server: {error}")
            refused.append(str(error))
            with pytest.raises(InvalidSpec):
                parse(service, as_written=True)
        else:
            taken.append(stored)
            assert parse(stored).spec == parse(service, as_written=True).spec

    agree()

    # A generator that only makes one sort would prove nothing.
    assert len(taken) >= EXAMPLES / 4
    assert len(refused) >= EXAMPLES / 10
