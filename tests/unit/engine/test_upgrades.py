"""Who has a turn: counted from what the caches hold, never more than allowed, longest waiting first."""

from __future__ import annotations

from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.well_known import REVISION_ANNOTATION
from agentservice_operator.engine.cache import Caches, Service
from agentservice_operator.engine.kinds import CHILDREN, DEPLOYMENT, SECRET, ServiceKey
from agentservice_operator.engine.upgrades import Limit, Upgrades
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.engine.objects import NAMESPACE, Woken, agent_service, config_map

OLD, NEW = "0ld0ld0ld0", "new1new1ne"


class Fleet:
    """AgentServices a, b, c ... that serve at an old revision, unless told otherwise."""

    def __init__(self, size: int, allowed: str) -> None:
        self.names = [f"agent-{number:03}" for number in range(size)]
        self.woken = Woken()
        self.caches = Caches([kind for kind in CHILDREN if kind is not SECRET], Woken())
        self.upgrades = Upgrades(self.caches, Limit(allowed), self.woken)
        self._version = 100
        for name in self.names:
            self.put(name)

    def put(self, name: str, *, live: str = OLD, pending: str = "", ready: bool = True, since: int = 0) -> None:
        """What the caches hold of one of them."""
        self._version += 1
        conditions: list[dict[str, Any]] = [{"type": "Ready", "status": str(ready)}]
        if pending:
            at = f"2026-11-21T00:00:{since:02}Z"
            conditions.append({"type": "UpgradePending", "status": "True", "reason": pending, "lastTransitionTime": at})
        uid = f"uid-of-{name}"
        status = {"updateRevision": live, "conditions": conditions}
        self.caches.services.put(agent_service(self._version, status=status, name=name, uid=uid))
        self._put_deployment(name, name, live)

    def put_workers(self, name: str, *, live: str) -> None:
        """Give one of them a second Deployment."""
        self._version += 1
        self._put_deployment(name, f"{name}-worker", live)

    def _put_deployment(self, owner: str, name: str, live: str) -> None:
        template = {"metadata": {"annotations": {REVISION_ANNOTATION: live}}}
        reference = {"uid": f"uid-of-{owner}", "controller": True, "kind": "AgentService", "name": owner}
        meta = config_map(name, self._version, service=owner, ownerReferences=[reference], generation=1)
        self.caches.children[DEPLOYMENT].put({**meta, "spec": {"replicas": 1, "template": template}, "status": {}})

    def get(self, name: str) -> Service:
        """One of them."""
        service = self.caches.services.get(NAMESPACE, name)
        assert service is not None
        return service

    def take(self, name: str) -> bool:
        """Ask for a turn."""
        return self.upgrades.take(self.get(name))

    def woken_names(self) -> list[str]:
        """Who was looked at since the last question."""
        woken = [key.name for key, _ in self.woken]
        self.woken.clear()
        return woken


@pytest.mark.parametrize(
    ("text", "services", "expected"),
    [("3", 1, 3), ("10%", 20, 2), ("10%", 29, 2), ("10%", 5, 1), ("10%", 0, 1), ("100%", 7, 7)],
)
def test_a_limit_is_a_number_or_a_share_of_all_and_never_zero(text: str, services: int, expected: int) -> None:
    assert Limit(text).of(services) == expected


def test_no_more_than_allowed_get_a_turn() -> None:
    fleet = Fleet(20, "10%")

    assert [fleet.take(name) for name in fleet.names] == [True, True, *[False] * 18]


def test_asking_again_keeps_the_turn() -> None:
    fleet = Fleet(3, "1")

    assert fleet.take("agent-001")
    assert fleet.take("agent-001")
    assert not fleet.take("agent-002")


def test_one_that_broke_keeps_its_turn_whichever_process_asks() -> None:
    fleet = Fleet(3, "1")
    fleet.put("agent-001", live=NEW, pending="Upgrading", ready=False)

    assert not fleet.take("agent-000")
    assert fleet.take("agent-001")


def test_one_of_whom_only_the_workers_were_upgraded_counts_and_goes_on() -> None:
    """Whoever wrote the one Deployment was interrupted before the other."""
    fleet = Fleet(3, "1")
    fleet.put_workers("agent-001", live=NEW)

    assert not fleet.take("agent-000")
    assert fleet.take("agent-001")


def test_one_of_whom_only_the_servers_were_upgraded_counts_too() -> None:
    fleet = Fleet(3, "1")
    fleet.put("agent-001", live=NEW)
    fleet.put_workers("agent-001", live=OLD)

    assert not fleet.take("agent-000")
    assert fleet.take("agent-001")


def test_what_was_begun_counts_until_the_caches_show_what_came_of_it() -> None:
    fleet = Fleet(3, "1")
    assert fleet.take("agent-000")
    assert not fleet.take("agent-001")

    fleet.upgrades.known(ServiceKey(NAMESPACE, "agent-000"))

    assert fleet.take("agent-001")


def test_who_does_not_serve_waits_for_those_who_do() -> None:
    fleet = Fleet(3, "1")
    fleet.put("agent-000", pending="WaitingForTurn", ready=False)
    fleet.put("agent-001", pending="WaitingForTurn")

    assert not fleet.take("agent-000")
    assert fleet.take("agent-001")


def test_the_next_are_those_that_wait_longest_and_as_many_as_there_are_turns() -> None:
    fleet = Fleet(5, "2")
    fleet.put("agent-000", pending="WaitingForTurn", since=3)
    fleet.put("agent-001", pending="WaitingForTurn", since=0, ready=False)
    fleet.put("agent-002", pending="WaitingForTurn", since=1)
    fleet.put("agent-003", pending="WaitingForTurn", since=2)

    fleet.upgrades.wake_next()
    assert fleet.woken_names() == ["agent-002", "agent-003"]

    fleet.put("agent-004", live=NEW, pending="Upgrading", ready=False)
    fleet.upgrades.wake_next()
    assert fleet.woken_names() == ["agent-002"]


def test_one_that_is_deleted_makes_room() -> None:
    fleet = Fleet(3, "1")
    fleet.put("agent-001", pending="WaitingForTurn")
    assert fleet.take("agent-000")
    fleet.caches.services.forget(NAMESPACE, "agent-000")

    fleet.upgrades.forget(ServiceKey(NAMESPACE, "agent-000"))

    assert fleet.woken_names() == ["agent-001"]
    assert fleet.take("agent-001")


@settings(deadline=None)
@given(st.data())
def test_in_any_order_of_events_no_more_than_allowed_are_upgraded(data: st.DataObject) -> None:
    fleet = Fleet(6, "2")
    upgraded = set[str]()
    for _ in range(30):
        name = data.draw(st.sampled_from(fleet.names))
        key = ServiceKey(NAMESPACE, name)
        match data.draw(st.sampled_from(["reconcile", "written", "lost", "ready", "restart"])):
            case "reconcile":
                fleet.take(name)
            case "written" if fleet.take(name):
                fleet.put(name, live=NEW, pending="Upgrading", ready=False)
                fleet.upgrades.known(key)
            case "lost":  # the answer never came: nobody knows whether it was written
                fleet.take(name)
            case "ready" if fleet.upgrades.holds(fleet.get(name)):
                fleet.put(name, live=NEW)
                fleet.upgrades.known(key)
                upgraded.add(name)
            case "restart":
                fleet.upgrades = Upgrades(fleet.caches, fleet.upgrades.limit, fleet.woken)
        assert sum(fleet.upgrades.holds(fleet.get(each)) for each in fleet.names) <= 2
