"""Long churn (SIV-10): random walks, batch after batch, while operators die and the API server is restarted.

    python -m tests.controlplane.churn                 for an hour, with a seed that it prints
    python -m tests.controlplane.churn --minutes 10    for as long as that

Two operators serve one Lease. In the first half one of them ends every now and then, in order or by a crash, and is
started again as a kubelet would do it; after every other batch the API server crashes, too. In the second half nobody
dies, so that memory which only grows can be seen. After each batch every walk must have come to what its last spec
comes to at once, and at no time may both operators lead.

Source: the resilience job of Elastic Cloud on Kubernetes, https://github.com/elastic/cloud-on-k8s
"""

from __future__ import annotations

import argparse
import itertools
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from benchmarks.process_figures import resident_kib
from dev.controlplane import ControlPlane, control_plane
from dev.process import wait_until
from dev.progress import say, step
from tests.controlplane.agent_services import AgentServices, install_definitions
from tests.controlplane.operator_process import START_DEADLINE, OperatorProcess, delete_namespace, make_namespace
from tests.controlplane.walk_batch import Report, operator_troubles, run
from tests.unit.transitions.walks import Walk, walk

SIDE_BY_SIDE = 12
"""Walks of one batch."""
DEATH_EVERY = (10.0, 60.0)
"""Seconds between two deaths, at least and at most."""
LOOK_EVERY = 1.0
"""Seconds between two looks at who leads."""
GROWTH = 1.1
"""What the memory of an operator may come to in the second half, as a multiple of what it was after its first batch."""


@dataclass
class Churn:
    """Two operators and what happened to them.

    Args:
        cluster: where.
        operators: of one Lease, running.
        chance: decides who dies, when and how.
        report: how the walks went.
        troubles: what else must not happen.
        deaths: how many there were.
        restarts: how often the API server was started anew.
    """

    cluster: ControlPlane
    operators: Sequence[OperatorProcess]
    chance: random.Random
    report: Report = field(default_factory=Report)
    troubles: list[str] = field(default_factory=list)
    deaths: int = 0
    restarts: int = 0

    def walk(self, walks: Sequence[Walk], *, death_every: tuple[float, float] | None) -> None:
        """Take walks in a namespace of their own, while operators die, or don't."""
        namespace = make_namespace(self.cluster, "churn")
        services = AgentServices(self.cluster, namespace)
        # Only the main thread may start processes.
        with ThreadPoolExecutor(1) as walker:
            walking = walker.submit(run, services, self.operators[0].home, walks)
            next_death = self._next_death(death_every)
            while not walking.done():
                self._look()
                if time.monotonic() >= next_death:
                    self._let_one_die()
                    next_death = self._next_death(death_every)
                wait([walking], timeout=LOOK_EVERY)
            self.report.add(walking.result())
        delete_namespace(self.cluster, namespace)

    def restart_api_server(self) -> None:
        """Let the API server crash; an operator that could not renew its Lease meanwhile has ended, and starts anew."""
        self.cluster.restart_api_server()
        self.restarts += 1
        wait_until(self._one_leads, deadline=START_DEADLINE, describe=self._last_words)

    def judge(self) -> list[str]:
        """Everything that must not have happened."""
        own = [f"{one.name} {trouble}" for one in self.operators for trouble in operator_troubles(one)]
        return [*self.troubles, *own, *(f"{name}: {how}" for name, how in self.report.differences.items())]

    def _last_words(self) -> str:
        return "\n".join(f"{one.name} said\n{one.child.log_tail(20)}" for one in self.operators)

    def _one_leads(self) -> bool:
        for one in self.operators:
            if one.child.exit_code is not None:
                one.spawn()
        return any(map(leads, self.operators))

    def _look(self) -> None:
        if len(leading := [one.name for one in self.operators if leads(one)]) > 1:
            self.troubles.append(f"{' and '.join(leading)} lead at the same time")
        for one in self.operators:
            if (code := one.child.exit_code) is not None:
                self.troubles.append(f"{one.name} ended by itself with {code}\n{one.child.log_tail(20)}")
                one.spawn()

    def _let_one_die(self) -> None:
        ready = [one for one in self.operators if one.probe("/readyz") == HTTPStatus.OK]
        if not ready:
            return
        one = self.chance.choice(ready)
        if self.chance.random() < 1 / 2:
            one.kill()
        elif code := one.stop():
            self.troubles.append(f"{one.name} was asked to end and did with {code}\n{one.child.log_tail(20)}")
        one.spawn()
        self.deaths += 1

    def _next_death(self, every: tuple[float, float] | None) -> float:
        return time.monotonic() + self.chance.uniform(*every) if every else float("inf")


def leads(operator: OperatorProcess) -> bool:
    """Whether it leads; one that is not up yet does not."""
    try:
        return operator.child.exit_code is None and operator.leads
    except OSError:
        return False


def batch(seed: str, number: int, size: int = SIDE_BY_SIDE) -> list[Walk]:
    """The walks of one batch."""
    return [walk(f"{seed}-{number}-{each}") for each in range(size)]


@contextmanager
def churning(folder: Path, seed: str) -> Iterator[Churn]:
    """Run a control plane and two operators, one of which leads."""
    with control_plane(folder / "plane") as cluster:
        install_definitions(cluster)
        home = make_namespace(cluster, "churn-home")
        first = OperatorProcess(cluster, None, home, (), folder)
        second = first.replica("standby")
        try:
            first.start()
            second.start(leading=False)
            yield Churn(cluster, (first, second), random.Random(seed))  # noqa: S311 - the same for the same seed
        finally:
            first.close()
            second.close()


def churn(one: Churn, seed: str, seconds: float) -> None:
    """Walk for so long at least."""
    numbers = itertools.count()
    end = time.monotonic() + seconds / 2
    while time.monotonic() < end:
        number = next(numbers)
        with step(f"batch {number} while operators die"):
            one.walk(batch(seed, number), death_every=DEATH_EVERY)
        if number % 2 == 0:
            with step("the API server starts anew"):
                one.restart_api_server()
    memory: list[list[int]] = []
    end = time.monotonic() + seconds / 2
    while time.monotonic() < end or len(memory) < len(("the first", "the last")):
        number = next(numbers)
        with step(f"batch {number} while nobody dies"):
            one.walk(batch(seed, number), death_every=None)
        memory.append([resident_kib(operator.child.pid) for operator in one.operators])
    for operator, first, last in zip(one.operators, memory[0], memory[-1], strict=True):
        say(f"    {operator.name}: {first} KiB after the first of {len(memory)} batches, {last} after the last")
        if last > GROWTH * first:
            one.troubles.append(f"the memory of {operator.name} grew from {first} to {last} KiB")


def main() -> int:
    """Run the churn; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description="Random edits while operators die and the API server is restarted.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", default=str(secrets.randbelow(10**6)), help="of the walks and deaths")
    asked = parser.parse_args()
    say(f"==> {asked.minutes:g} minutes, seed {asked.seed}")
    with tempfile.TemporaryDirectory(prefix="agentservice-churn-") as folder, churning(Path(folder), asked.seed) as one:
        churn(one, asked.seed, asked.minutes * 60)
        troubles = one.judge()
    for trouble in troubles:
        say(f"TROUBLE {trouble}")
    say(
        f"{one.report.walked} walks with {one.report.edits} edits, {one.deaths} deaths of operators, {one.restarts} "
        f"restarts of the API server; {len(one.report.differences)} walks differ, {len(troubles)} troubles in all"
    )
    return 1 if troubles or not one.report.walked else 0


if __name__ == "__main__":
    sys.exit(main())
