"""Fault campaigns after Sieve: whatever fails once, wherever in the life of an AgentService, it ends up the same.

A life is recorded twice without faults. From the record the cases are derived: every fault that concerns a write for
every write, every fault that concerns a watch for every event. In each case the same life is lived once more, in a
namespace of its own, while its fault happens once: after every step it must come to the recorded state, and in the end
the operator must have created and deleted exactly as many objects.

    python -m tests.controlplane.fault_campaign                          all of them
    python -m tests.controlplane.fault_campaign "life: siv-1 crash"      those whose name begins so

Source: Sieve, OSDI '22, https://github.com/sieve-project/sieve
"""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dev.cluster import Cluster
from dev.controlplane import control_plane
from dev.process import wait_until
from dev.progress import say, step
from tests.controlplane.agent_services import AgentServices, install_definitions
from tests.controlplane.fault_lane import Lane, Recording, Step, lane, record_twice
from tests.controlplane.fault_proxy import Journal
from tests.controlplane.faults import Crash, Cut, Delay, Drop, Expire, Fault, LoseAnswer, OldList, Refuse, Repeat, Stall

LANES = 3
"""Operators at work side by side."""
LIVES = 24
"""Of one operator."""
PROGRESS_EVERY = 15.0
"""Seconds."""

Kill = Callable[[], None]
Make = Callable[[str, Kill], Fault]
"""Makes a fault that waits for a name; it may need to kill the operator."""


def _lose(kind: str) -> Callable[[AgentServices], object]:
    return lambda services: services.cluster.api.delete(services.path(kind))


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
TERSE = [{"name": "assistant", "systemPrompt": "You are terse."}]
AUTOSCALING = {"minReplicas": 2, "maxReplicas": 5}
SCENARIOS = {
    "create": (CREATE,),
    "end": (CREATE, Step("delete it and make it anew", _make_anew), DELETE),
    "life": (
        CREATE,
        Step("edit its prompt", lambda services: services.apply(agents=TERSE)),
        Step("scale it to three", lambda services: services.apply(replicas=3)),
        Step("let it be autoscaled", lambda services: services.apply(autoscaling=AUTOSCALING)),
        Step("lose the Deployment", _lose("Deployment")),
        Step("scale it to two", lambda services: services.apply(replicas=2)),
        Step("lose the Service", _lose("Service")),
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
    "siv-3 old list after 410 for": lambda at, _: OldList(at),
    "siv-4 twice": lambda at, _: Repeat(at),
    "siv-6 cut at": lambda at, _: Cut(at),
    "siv-6 stall at": lambda at, _: Stall(at),
}


@dataclass(frozen=True)
class Case:
    """One fault at one moment of one life."""

    scenario: str
    fault: str
    at: str

    def __str__(self) -> str:
        """Its name."""
        return f"{self.scenario}: {self.fault} {self.at}"

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


def cases(scenario: str, recording: Recording) -> list[Case]:
    """Every fault for every write and every event of a recorded life."""
    matrix = ((CRASHES, recording.writes), (ON_WRITES, recording.writes), (ON_EVENTS, recording.events))
    return [Case(scenario, fault, at) for faults, moments in matrix for fault in faults for at in moments]


async def run(on: Lane, chosen: Sequence[Case], recordings: Mapping[str, Recording], outcome: Outcome) -> None:
    """Run cases under one operator: side by side, or one after the other where it dies of each."""
    lived: list[tuple[Case, str, Journal]] = []

    async def live(case: Case) -> None:
        try:
            lived.append((case, *await on.live(recordings[case.scenario], case.make(on.kill))))
        except AssertionError as error:
            outcome.failed[case] = str(error)
        outcome.lived += 1

    if any(case.crashes for case in chosen):
        for case in chosen:
            await live(case)
    else:
        await asyncio.gather(*(live(case) for case in chosen))

    await on.rest()
    for case, namespace, journal in lived:
        try:
            await on.check(recordings[case.scenario], namespace, journal)
        except AssertionError as error:
            outcome.failed[case] = str(error)
        else:
            (outcome.passed if journal.fault.fired else outcome.never_came).append(case)
    killed = f"exit code {-signal.SIGKILL}\n"
    outcome.ended += [words for words in on.deaths if not words.startswith(killed)]


async def campaign(cluster: Cluster, folder: Path, wanted: str) -> Outcome:
    """Record what is needed, and run every case whose name begins with ``wanted``."""
    scenarios = [name for name in SCENARIOS if wanted.startswith(f"{name}:")] or ["life", "end"]
    recordings = {}
    for name in scenarios:
        with step(f"recording the scenario '{name}'"):
            async with lane(cluster, folder, lives=2) as one:
                recordings[name] = await record_twice(one, SCENARIOS[name])
    chosen = [case for name in scenarios for case in cases(name, recordings[name]) if str(case).startswith(wanted)]
    kinds = ([case for case in chosen if case.crashes], [case for case in chosen if not case.crashes])
    batches = [kind[first : first + LIVES] for kind in kinds for first in range(0, len(kind), LIVES)]
    outcome = Outcome()
    slots = asyncio.Semaphore(LANES)

    async def some(batch: Sequence[Case]) -> None:
        async with slots, lane(cluster, folder, lives=len(batch)) as one:
            await run(one, batch, recordings, outcome)

    say(f"==> {len(chosen)} cases")
    progress = asyncio.create_task(_progress(outcome, len(chosen)))
    try:
        await asyncio.gather(*map(some, batches))
    finally:
        progress.cancel()
    return outcome


async def _progress(outcome: Outcome, count: int) -> None:
    told: set[Case] = set()
    while True:
        await asyncio.sleep(PROGRESS_EVERY)
        say(f"    {outcome.lived} of {count} lived, {len(outcome.failed)} failed")
        for case in outcome.failed.keys() - told:
            say(f"FAILED {case}\n{outcome.failed[case]}")
        told = set(outcome.failed)


def main() -> int:
    """Run the campaign on a control plane of its own; 1 where a case failed."""
    wanted = " ".join(sys.argv[1:])
    with (
        tempfile.TemporaryDirectory(prefix="agentservice-campaign-") as folder,
        control_plane(Path(folder) / "plane") as cluster,
    ):
        install_definitions(cluster)
        outcome = asyncio.run(campaign(cluster, Path(folder), wanted))
    for case in outcome.failed:
        say(f"again: make campaign CASE={shlex.quote(str(case))}")
    say(f"{len(outcome.passed)} passed, {len(outcome.never_came)} never came, {len(outcome.failed)} failed")
    for words in outcome.ended:
        say(f"an operator ended by itself, {words}")
    return 1 if outcome.failed or outcome.ended or not outcome.count else 0


if __name__ == "__main__":
    sys.exit(main())
