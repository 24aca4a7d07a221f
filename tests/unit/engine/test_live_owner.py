"""The look at an AgentService before children are made for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agentservice_operator.engine.kinds import AGENT_SERVICE
from agentservice_operator.engine.live_owner import LiveOwner, OwnerGone
from agentservice_operator.engine.ports import KubernetesError

from tests.unit.engine.fake_kubernetes import FakeKubernetes
from tests.unit.engine.objects import agent_service, known_service


@pytest.fixture
def kubernetes() -> FakeKubernetes:
    return FakeKubernetes()


async def test_children_that_are_made_side_by_side_share_one_look(kubernetes: FakeKubernetes) -> None:
    kubernetes.hold(AGENT_SERVICE, agent_service())
    owner = LiveOwner(kubernetes, known_service())

    await asyncio.gather(*(owner.require() for _ in range(4)))

    assert kubernetes.verbs() == ["get_metadata"]


@pytest.mark.parametrize("meta", [None, {"uid": "u-2"}, {"deletionTimestamp": "2026-11-21T00:00:00Z"}])
async def test_none_is_made_for_one_that_is_gone_or_goes(
    kubernetes: FakeKubernetes, meta: dict[str, Any] | None
) -> None:
    if meta is not None:
        live = agent_service()
        kubernetes.hold(AGENT_SERVICE, {**live, "metadata": {**live["metadata"], **meta}})
    owner = LiveOwner(kubernetes, known_service())

    answers = await asyncio.gather(*(owner.require() for _ in range(4)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [OwnerGone] * 4


async def test_an_api_server_that_did_not_answer_has_not_shown_it_alive(kubernetes: FakeKubernetes) -> None:
    owner = LiveOwner(kubernetes, known_service())
    kubernetes.refuses = KubernetesError("no answer")
    with pytest.raises(KubernetesError):
        await owner.require()
    kubernetes.refuses = None

    with pytest.raises(OwnerGone):
        await owner.require()
