"""Fault campaigns after Sieve: whatever fails once, wherever in the life of an AgentService, it ends up the same.

A life is recorded twice without faults. From the record the cases are derived: every fault that concerns a write for
every write, every fault that concerns a watch for every event. In each case the same life is lived once more, in a
namespace of its own, while its fault happens once: after every step it must come to the recorded state, and in the end
the operator must have created and deleted exactly as many objects. What has no moments to choose from, such as the
absence of the operator (SIV-7) or two leaders (SIV-9), are tests of their own; the whole campaign ends with them.

    python -m tests.controlplane.fault_campaign                          all of them
    python -m tests.controlplane.fault_campaign "life: siv-1 crash"      those whose name begins so
    python -m tests.controlplane.fault_campaign --every 20               one of twenty

Source: Sieve, OSDI '22, https://github.com/sieve-project/sieve
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from agentservice_operator.engine.kinds import CHILDREN

from dev.api_client import ApiError
from dev.cluster import Cluster
from dev.controlplane import control_plane
from dev.process import wait_until
from dev.progress import say, step
from tests.controlplane.agent_services import (
    EVERY_CHILD,
    AgentServices,
    Object,
    install_definitions,
    persistent_volume,
    verdict,
)
from tests.controlplane.fault_lane import Lane, Recording, Step, lane, record_twice
from tests.controlplane.fault_proxy import Journal
from tests.controlplane.faults import (
    Crash,
    Cut,
    Delay,
    Drop,
    Expire,
    Fault,
    LoseAnswer,
    OldList,
    Refuse,
    Repeat,
    Stall,
    Swap,
)

LANES = 3
"""Operators at work side by side."""
LIVES = 24
"""Of one operator."""
PROGRESS_EVERY = 15.0
"""Seconds."""

Kill = Callable[[], None]
Make = Callable[[str, Kill], Fault]
"""Makes a fault that waits for a name; it may need to kill the operator."""


def _lose(kind: str, name: str = "hello") -> Callable[[AgentServices], object]:
    return lambda services: services.cluster.api.delete(services.path(kind, name))


def _make_anew(services: AgentServices) -> None:
    """While the children of the old one are still there."""
    services.delete()
    services.wait_gone()
    services.apply()


def _delete(services: AgentServices) -> None:
    services.delete()
    services.wait_gone()
    # The garbage collector looks for new kinds every 30 s.
    wait_until(lambda: not services.pods(), deadline=90, describe=services.describe, interval=0.5)


CREATE = Step("create it", lambda services: services.apply())
DELETE = Step("delete it", _delete)


def _refer(services: AgentServices) -> None:
    """To a ConfigMap and to a Secret that are not there yet."""
    prompt = {"configMapKeyRef": {"name": "prompts", "key": "main"}}
    key = {"secretKeyRef": {"name": "provider", "key": "key"}}
    services.apply(
        agents=[{"name": "assistant", "systemPromptFrom": prompt}],
        runtime={"env": [{"name": "PROVIDER_KEY", "valueFrom": key}]},
    )


def _keep(services: AgentServices, **spec: Any) -> None:
    """Its conversations, on a volume."""
    volume = {"size": "1Gi", "storageClassName": services.namespace}
    services.apply(state={"backend": "Volume", "volume": volume}, **spec)


def _make_with_volume(services: AgentServices) -> None:
    services.cluster.api.create(persistent_volume(services.namespace))
    _keep(services)


def _make_anew_with_volume(services: AgentServices) -> None:
    services.delete()
    services.wait_gone()
    _keep(services, agents=TERSE)


def _make_with_workers(services: AgentServices) -> None:
    services.make_secret("database", url="postgresql://agents:fake@postgresql/agents")
    services.make_secret("redis", url="redis://redis")
    _work(services, 1)


def _work(services: AgentServices, workers: int, **spec: Any) -> None:
    """Its tasks, in pods of their own."""
    url = {name: {"urlFrom": {"secretKeyRef": {"name": name, "key": "url"}}} for name in ("database", "redis")}
    state = {"backend": "PostgreSQL", "postgreSQL": url["database"], "redis": url["redis"]}
    services.apply(state=state, tasks={"workers": workers}, **spec)


def _waits(service: Object) -> bool:
    return verdict(service) == ("False", "ReferenceNotFound")


TERSE = [{"name": "assistant", "systemPrompt": "You are terse."}]
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 5}
SCENARIOS = {
    "create": (CREATE,),
    "change": (CREATE, Step("edit and scale it", lambda services: services.apply(agents=TERSE, replicas=2))),
    "late": (
        Step("create it with references to what is missing", _refer, _waits),
        Step("make the ConfigMap", lambda services: services.make_config_map("prompts", main="Hello."), _waits),
        Step("make the Secret", lambda services: services.make_secret("provider", key="fake")),
        Step("edit the ConfigMap", lambda services: services.make_config_map("prompts", main="Goodbye.")),
    ),
    "volume": (
        Step("create it with a volume", _make_with_volume),
        Step("edit its prompt", lambda services: _keep(services, agents=TERSE)),
        Step("delete it and make it anew", _make_anew_with_volume),
    ),
    "workers": (
        Step("create it with a worker", _make_with_workers),
        Step("edit its prompt and double its workers", lambda services: _work(services, 2, agents=TERSE)),
        Step("lose the Deployment of the workers", _lose("Deployment", "hello-worker")),
        Step("take its workers away", lambda services: _work(services, 0)),
    ),
    "end": (CREATE, Step("delete it and make it anew", _make_anew), DELETE),
    "life": (
        CREATE,
        Step("edit its prompt", lambda services: services.apply(agents=TERSE)),
        Step("scale it to three", lambda services: services.apply(replicas=3)),
        Step("give it every child", lambda services: services.apply(**{**EVERY_CHILD, "autoscaling": AUTOSCALING})),
        Step("lose the Deployment", _lose("Deployment")),
        Step("scale it to two", lambda services: services.apply(replicas=2)),
        Step("lose the Service", _lose("Service")),
        Step("rotate its key", lambda services: services.apply(replicas=2, access={"apiKeys": {"rotation": 2}})),
    ),
}


def _refuse(code: int, reason: str, **headers: str) -> Make:
    return lambda at, _: Refuse(at, code, reason, headers)


CRASHES: dict[str, Make] = {
    "siv-1 crash before the answer to": lambda at, kill: Crash(at, kill, answered=False),
    "siv-1 crash after the answer to": lambda at, kill: Crash(at, kill, answered=True),
}
ON_WRITES: dict[str, Make] = {
    "siv-5 409 for": _refuse(409, "Conflict"),
    "siv-5 422 for": _refuse(422, "Invalid"),
    "siv-5 429 for": _refuse(429, "TooManyRequests", **{"Retry-After": "2"}),
    "siv-5 500 for": _refuse(500, "InternalError"),
    "siv-5 503 for": _refuse(503, "ServiceUnavailable"),
    "siv-5 cut before the answer to": lambda at, _: LoseAnswer(at),
    "siv-5 no answer in time to": lambda at, _: LoseAnswer(at, silent_for=12),
}
ON_EVENTS: dict[str, Make] = {
    "siv-2 drop": lambda at, _: Drop(at),
    "siv-2 410 for": lambda at, _: Expire(at),
    "siv-3 five seconds late from": lambda at, _: Delay(at, 5),
    "siv-3 thirty seconds late from": lambda at, _: Delay(at, 30),
    "siv-3 two minutes late from": lambda at, _: Delay(at, 120),
    "siv-3 old list after 410 for": lambda at, _: OldList(at),
    "siv-4 twice": lambda at, _: Repeat(at),
    "siv-4 after the next one": lambda at, _: Swap(at),
    "siv-6 cut at": lambda at, _: Cut(at),
    "siv-6 stall at": lambda at, _: Stall(at),
}
SLOW = ("siv-2 drop", "siv-3 thirty", "siv-3 two minutes", "siv-4 after the next one", "siv-5 422", "siv-6 stall")
"""What may take a new list, a resync, or that long, to heal."""
SPARSE = {"siv-3 thirty seconds late from": 8, "siv-3 two minutes late from": 32}
"""Of how many moments one is tried: a view that is late from an event on is late from the next one on, too."""
SINGLE = "siv_7 or siv_8 or siv_9"
"""Tests without moments, as pytest selects them."""
TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One fault at one moment of one life; or a test, by its name, without scenario."""

    scenario: str
    fault: str
    at: str

    def __str__(self) -> str:
        """Its name."""
        return f"{self.scenario}: {self.fault} {self.at}"

    @property
    def command(self) -> str:
        """What runs it alone."""
        if self.scenario:
            return f"make campaign CASE={shlex.quote(str(self))}"
        return f"{sys.executable} -m pytest {TESTS} -k {shlex.quote(self.at)}"

    @property
    def check(self) -> str:
        """The id of the check that it belongs to: ``SIV-1``."""
        return self.fault.split()[0].upper()

    @property
    def crashes(self) -> bool:
        """Whether the operator dies of it."""
        return self.fault in CRASHES

    def make(self, kill: Kill) -> Fault:
        """The fault, about to happen."""
        return {**CRASHES, **ON_WRITES, **ON_EVENTS}[self.fault](self.at, kill)


@dataclass
class Outcome:
    """How cases went.

    Args:
        passed: the life went as recorded.
        never_came: this life had no such moment; what differs between two lives is mostly how often status is written.
        failed: what differed.
        ended: the last words of operators that ended by themselves.
        lived: how many lives came to their end; they are judged when their operator rests.
    """

    passed: list[Case] = field(default_factory=list)
    never_came: list[Case] = field(default_factory=list)
    failed: dict[Case, str] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    lived: int = 0

    @property
    def count(self) -> int:
        """How many there were."""
        return len(self.passed) + len(self.never_came) + len(self.failed)

    def table(self) -> str:
        """How many cases of each check of the reference went how, as Markdown."""
        sorts = (self.passed, self.never_came, self.failed)
        counts = [Counter(case.check for case in sort) for sort in sorts]
        rows = [
            f"| {check} | {sum(count[check] for count in counts)} | " + " | ".join(str(c[check]) for c in counts) + " |"
            for check in sorted(set().union(*counts))
        ]
        return "\n".join(("| check | cases | passed | never came | failed |", "|---|---|---|---|---|", *rows))


def cases(scenario: str, recording: Recording) -> list[Case]:
    """Every fault for every write and every event of a recorded life."""
    matrix = ((CRASHES, recording.writes), (ON_WRITES, recording.writes), (ON_EVENTS, recording.events))
    return [
        Case(scenario, fault, at)
        for faults, moments in matrix
        for fault in faults
        for at in moments[:: SPARSE.get(fault, 1)]
    ]


async def run(
    on: Lane,
    chosen: Sequence[Case],
    recordings: Mapping[str, Recording],
    outcome: Outcome,
    *,
    apart: bool = False,
) -> None:
    """Run cases under one operator.

    Args:
        on: the operator.
        chosen: which.
        recordings: the lives without faults, by scenario.
        outcome: how the cases go is added here.
        apart: whether the operator dies in one life at a time. Side by side, each life has the deaths of all others
            too, at whatever moment that is: quicker and harder, and it leaves open which of them was one too many.
    """
    lived: list[tuple[Case, str, Journal]] = []

    async def live(case: Case) -> None:
        try:
            lived.append((case, *await on.live(recordings[case.scenario], case.make(on.kill))))
        except (AssertionError, ApiError) as error:
            outcome.failed[case] = str(error)
        outcome.lived += 1

    if apart and any(case.crashes for case in chosen):
        for case in chosen:
            await live(case)
    else:
        await asyncio.gather(*(live(case) for case in chosen))

    unrest = ""
    try:
        await on.rest()
    except AssertionError as error:
        unrest = str(error)
    for case, namespace, journal in lived:
        try:
            assert not unrest, unrest
            await on.check(recordings[case.scenario], namespace, journal)
        except AssertionError as error:
            outcome.failed[case] = str(error)
        else:
            (outcome.passed if journal.fault.fired else outcome.never_came).append(case)
    killed = f"exit code {-signal.SIGKILL}\n"
    outcome.ended += [words for words in on.deaths if not words.startswith(killed)]


async def campaign(cluster: Cluster, folder: Path, wanted: str, every: int, outcome: Outcome) -> None:
    """Record what is needed, and run the cases whose name begins with ``wanted``, or one of so many of them."""
    scenarios = [name for name in SCENARIOS if wanted.startswith(f"{name}:")] or ["life", "end", "late", "volume"]
    recordings = {}
    for name in scenarios:
        with step(f"recording the scenario '{name}'"):
            async with lane(cluster, folder, lives=2) as one:
                recordings[name] = await record_twice(one, SCENARIOS[name])
    if not wanted:
        made = set().union(*(recording.created for recording in recordings.values()))
        never_made = {kind.plural for kind in CHILDREN} - made
        assert not never_made, f"no scenario makes {sorted(never_made)}: add one with a spec that asks for them"
    found = [case for name in scenarios for case in cases(name, recordings[name]) if str(case).startswith(wanted)]
    chosen = found[::every]
    kinds = ([case for case in chosen if case.crashes], [case for case in chosen if not case.crashes])
    batches = [kind[first : first + LIVES] for kind in kinds for first in range(0, len(kind), LIVES)]
    slots = asyncio.Semaphore(LANES)

    async def some(batch: Sequence[Case]) -> None:
        async with slots, lane(cluster, folder, lives=len(batch)) as one:
            await run(one, batch, recordings, outcome, apart=True)

    say(f"==> {len(chosen)} cases")
    progress = asyncio.create_task(_progress(outcome, len(chosen)))
    try:
        await asyncio.gather(*map(some, batches))
    finally:
        progress.cancel()


async def _progress(outcome: Outcome, count: int) -> None:
    told: set[Case] = set()
    while True:
        await asyncio.sleep(PROGRESS_EVERY)
        say(f"    {outcome.lived} of {count} lived, {len(outcome.failed)} failed")
        for case in outcome.failed.keys() - told:
            say(f"    FAILED {case}")
        told = set(outcome.failed)


def run_single(folder: Path, outcome: Outcome) -> None:
    """Run the tests without moments."""
    report = folder / "single.xml"
    command = [sys.executable, "-m", "pytest", str(TESTS), "-q", "-k", SINGLE, "-n", "2", f"--junitxml={report}"]
    with step(f"the tests {SINGLE}"):
        subprocess.run(command, check=False)
    for test in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - our own file
        name = test.get("name", "")
        check = re.sub(r".*siv_(\d+).*", r"siv-\1", name)
        case = Case("", check, name)
        bad = next((found for tag in ("failure", "error", "skipped") if (found := test.find(tag)) is not None), None)
        if bad is None:
            outcome.passed.append(case)
        else:
            outcome.failed[case] = bad.get("message", "")


def main() -> int:
    """Run the campaign on a control plane of its own; 1 where a case failed."""
    parser = argparse.ArgumentParser(description="Every fault at every moment of an AgentService's life.")
    parser.add_argument("wanted", nargs="?", default="", help="how the name of a case begins")
    parser.add_argument("--every", type=int, default=1, help="one of how many is tried")
    asked = parser.parse_args()
    outcome, ended_early = Outcome(), False
    with tempfile.TemporaryDirectory(prefix="agentservice-campaign-") as name:
        folder = Path(name)
        try:
            with control_plane(folder / "plane") as cluster:
                install_definitions(cluster)
                asyncio.run(campaign(cluster, folder, asked.wanted, asked.every, outcome))
            if not asked.wanted:
                run_single(folder, outcome)
        except KeyboardInterrupt:
            ended_early = True
    for case, why in outcome.failed.items():
        say(f"FAILED {case}\n{why}\nagain: {case.command}\n")
    for words in outcome.ended:
        say(f"an operator ended by itself, {words}")
    print(outcome.table())  # noqa: T201 - the result of this program
    if ended_early:
        say("ended early: the table has what was judged until then")
    return 1 if outcome.failed or outcome.ended or ended_early or not outcome.count else 0


if __name__ == "__main__":
    sys.exit(main())
