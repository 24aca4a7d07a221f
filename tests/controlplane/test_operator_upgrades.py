"""A release that runs agents in another way rolls out a few at a time, and stops at these where it breaks them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dev.process import running, wait_until
from tests.controlplane.agent_services import AgentServices, Object, condition, is_ready
from tests.controlplane.operator_process import RUNTIME_IMAGE, OperatorProcess, said

FLEET = [f"agent-{number:02}" for number in range(20)]
PINNED = FLEET[:2]
AT_A_TIME = 2
"""A tenth of them, which is the default."""
NEXT = "example.invalid/agentservice-runtime:next"
BROKEN = "missing.invalid/agentservice-runtime:broken"
MENDED = "example.invalid/agentservice-runtime:mended"
FLEET_DEADLINE = 240.0
"""Seconds for what takes 30 on an idle machine."""


@dataclass(frozen=True)
class Seen:
    """A Deployment at one moment."""

    name: str
    image: str
    progressing: bool


class History:
    """Every state of the Deployments, in the order in which the API server stored them."""

    TEMPLATE = (
        r"jsonpath={.metadata.name} {.spec.template.spec.containers[0].image} {.metadata.generation}"
        r"|{.status.observedGeneration}|{.spec.replicas}|{.status.replicas}|{.status.updatedReplicas}"
        r'|{.status.availableReplicas}{"\n"}'
    )

    def __init__(self, log: Path) -> None:
        self._log = log

    def seen(self) -> list[Seen]:
        """The states so far."""
        states = []
        for line in self._log.read_text().splitlines():
            name, image, numbers = line.split(" ")
            generation, observed, wanted, replicas, updated, available = (int(n or 0) for n in numbers.split("|"))
            done = generation == observed and wanted == replicas == updated == available
            states.append(Seen(name, image, not done))
        return states

    def side_by_side(self) -> int:
        """How many were in a rollout at the same time, at the worst moment."""
        progressing, worst = set[str](), 0
        for state in self.seen():
            (progressing.add if state.progressing else progressing.discard)(state.name)
            worst = max(worst, len(progressing))
        return worst

    def touched(self) -> set[str]:
        """Those that were in a rollout at all."""
        return {state.name for state in self.seen() if state.progressing}


@contextmanager
def followed(services: AgentServices, folder: Path) -> Iterator[History]:
    """Follow the Deployments."""
    cluster = services.cluster
    log = folder / "deployments"
    command: list[str | Path] = [cluster.kubectl_path, f"--kubeconfig={cluster.kubeconfig}", "-n", services.namespace]
    get = ["get", "deployments", "--watch", "-o", History.TEMPLATE]
    with running([*command, *get], name="kubectl", log=log) as child:
        history = History(log)
        names = set(deployments(services))
        wait_until(lambda: {state.name for state in history.seen()} == names, deadline=30, describe=child.log_tail)
        yield history


def deployments(services: AgentServices) -> dict[str, Object]:
    """The Deployments by name."""
    return {item["metadata"]["name"]: item for item in services.cluster.api.list(services.path("Deployment", ""))}


def images(services: AgentServices) -> dict[str, str]:
    """What each runs on."""
    containers = {name: item["spec"]["template"]["spec"]["containers"] for name, item in deployments(services).items()}
    return {name: found[0]["image"] for name, found in containers.items()}


def all_of(services: AgentServices) -> dict[str, Object]:
    """The AgentServices by name."""
    return {item["metadata"]["name"]: item for item in services.cluster.api.list(services.path("AgentService", ""))}


def pending(service: Object) -> str | None:
    """The reason of its pending upgrade."""
    found = condition(service, "UpgradePending")
    return found["reason"] if found else None


def wait_all_ready(services: AgentServices) -> None:
    """Wait until all serve, and none has an upgrade before it."""

    def settled() -> bool:
        return all(is_ready(service) and pending(service) is None for service in all_of(services).values())

    wait_until(settled, deadline=FLEET_DEADLINE, describe=lambda: summary(services), interval=0.5)


def wait_all_on(services: AgentServices, *expected: str) -> None:
    """Wait until the Deployments run on these images."""
    wait_until(
        lambda: set(images(services).values()) == set(expected),
        deadline=FLEET_DEADLINE,
        describe=lambda: summary(services),
    )


def summary(services: AgentServices) -> str:
    """Who stands where."""
    shown = images(services)
    lines = [f"{name}: {shown.get(name)} {pending(item)} {item['status']}" for name, item in all_of(services).items()]
    return "\n".join(lines)


def make_fleet(services: AgentServices) -> None:
    """Apply all, and wait until they serve."""
    with ThreadPoolExecutor(8) as threads:
        specs = {name: {"runtime": {"image": "example.invalid/pinned:1"}} if name in PINNED else {} for name in FLEET}
        list(threads.map(lambda name: services.apply(name, **specs[name]), FLEET))
    wait_all_ready(services)


@pytest.fixture
def fleet(own_operator: OperatorProcess, own_services: AgentServices) -> AgentServices:
    """Twenty that serve, two of them with an image of their own, and an operator that has been told to end."""
    own_operator.start()
    make_fleet(own_services)
    own_operator.settle()
    own_operator.stop()
    return own_services


@pytest.mark.long
def test_prf_15_a_changed_default_image_rolls_a_tenth_at_a_time(
    own_operator: OperatorProcess, fleet: AgentServices, tmp_path: Path
) -> None:
    newer = own_operator.replica("newer", AGENTSERVICE_RUNTIME_IMAGE=NEXT)
    before = newer.audit.mark()
    try:
        with followed(fleet, tmp_path) as history:
            newer.start()
            wait_all_on(fleet, NEXT, "example.invalid/pinned:1")
            wait_all_ready(fleet)
            newer.settle()

            assert history.side_by_side() == AT_A_TIME
            assert history.touched() == set(FLEET) - set(PINNED)
        writes = [write for write in newer.writes(since=before) if write.resource == "deployments"]
        assert sorted(write.name for write in writes) == sorted(set(FLEET) - set(PINNED)), said(writes)
        statuses = [write for write in newer.writes(since=before) if write.resource == "agentservices"]
        assert len(statuses) <= 4 * len(FLEET)
        assert {len(fleet.replica_sets(name)) for name in FLEET} == {1, 2}
    finally:
        newer.close()


@pytest.mark.long
def test_prf_15_a_broken_default_image_stops_at_a_tenth_and_is_mended_there_first(
    own_operator: OperatorProcess, fleet: AgentServices, tmp_path: Path
) -> None:
    broken = own_operator.replica("broken", AGENTSERVICE_RUNTIME_IMAGE=BROKEN)
    mended = own_operator.replica("mended", AGENTSERVICE_RUNTIME_IMAGE=MENDED)
    try:
        with followed(fleet, tmp_path) as history:
            broken.start()
            wait_until(
                lambda: [pending(item) for item in all_of(fleet).values()].count("WaitingForTurn") == 16,
                deadline=FLEET_DEADLINE,
                describe=lambda: summary(fleet),
            )
            broken.settle()
            hit = {name for name, image in images(fleet).items() if image == BROKEN}
            assert len(hit) == AT_A_TIME
            for name, service in all_of(fleet).items():
                assert is_ready(service) == (name not in hit), name
                assert (condition(service, "Reconciling") is None) == (name not in hit), name

            broken.restart()  # which counts anew
            edited = next(name for name in FLEET if name not in {*hit, *PINNED})
            fleet.patch({"spec": {"runtime": {"image": "example.invalid/pinned:2"}}}, edited)
            fleet.wait(
                lambda service: is_ready(service) and images(fleet)[edited] == "example.invalid/pinned:2", edited
            )
            broken.settle()
            assert {name for name, image in images(fleet).items() if image == BROKEN} == hit
            assert history.touched() == {*hit, edited}

            broken.stop()
            mended.start()
            wait_until(
                lambda: list(images(fleet).values()).count(MENDED) == len(FLEET) - len(PINNED) - 1,
                deadline=FLEET_DEADLINE,
                describe=lambda: summary(fleet),
            )
            wait_all_ready(fleet)
            order = list(dict.fromkeys(state.name for state in history.seen() if state.image == MENDED))
            assert set(order[:AT_A_TIME]) == hit
            assert history.side_by_side() <= AT_A_TIME + 1  # with the edit
    finally:
        broken.close()
        mended.close()


def test_an_operator_that_is_taken_back_mends_what_the_newer_one_broke(
    own_operator: OperatorProcess, fleet: AgentServices
) -> None:
    broken = own_operator.replica("broken", AGENTSERVICE_RUNTIME_IMAGE=BROKEN)
    try:
        broken.start()
        wait_until(
            lambda: [pending(item) for item in all_of(fleet).values()].count("WaitingForTurn") == 16,
            deadline=FLEET_DEADLINE,
            describe=lambda: summary(fleet),
        )
        hit = {name for name, image in images(fleet).items() if image == BROKEN}
        broken.stop()
        before = own_operator.audit.mark()

        own_operator.start()

        wait_all_ready(fleet)
        own_operator.settle()
        assert set(images(fleet).values()) == {RUNTIME_IMAGE, "example.invalid/pinned:1"}
        writes = [write for write in own_operator.writes(since=before) if write.resource == "deployments"]
        assert {write.name for write in writes} == hit, said(writes)
        assert len(writes) == len(hit)
    finally:
        broken.close()


def test_a_release_that_renders_the_same_writes_nothing(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    names = FLEET[:4]
    own_operator.start()
    for name in names:
        own_services.apply(name)
    wait_all_ready(own_services)
    own_operator.settle()
    own_operator.stop()
    newer = own_operator.replica("newer", AGENTSERVICE_WORKERS="2", AGENTSERVICE_MAX_CONCURRENT_UPGRADES="1")
    before = own_operator.audit.mark()
    try:
        newer.start()
        newer.settle()

        assert said(newer.writes(since=before)) == []
        assert {len(own_services.replica_sets(name)) for name in names} == {1}
    finally:
        newer.close()


@pytest.mark.long
def test_of_two_releases_the_leader_decides_and_each_change_of_leader_rolls_each_agent_once(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    names = FLEET[:4]
    older = own_operator.replica("older", AGENTSERVICE_MAX_CONCURRENT_UPGRADES="2")
    newer = older.replica("newer", AGENTSERVICE_RUNTIME_IMAGE=NEXT)
    try:
        older.start()
        for name in names:
            own_services.apply(name)
        wait_all_ready(own_services)
        older.settle()

        for leader, standby, image in [(older, newer, NEXT), (newer, older, RUNTIME_IMAGE), (older, newer, NEXT)]:
            before = own_operator.audit.mark()
            standby.start(leading=False)
            standby.settle()
            assert said(standby.writes(since=before)) == []

            # The newer one crashes: nobody releases its Lease.
            (leader.kill if leader is newer else leader.stop)()
            standby.wait_for_lead()
            wait_all_on(own_services, image)
            wait_all_ready(own_services)
            standby.settle()

            writes = [write for write in standby.writes(since=before) if write.resource == "deployments"]
            assert sorted(write.name for write in writes) == names, said(writes)
            assert {len(own_services.replica_sets(name)) for name in names} == {2}
    finally:
        older.close()
        newer.close()
