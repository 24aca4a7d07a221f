"""A scale-up of a revision that serves never looks like an outage, in whatever order its events arrive."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from agentservice_operator.status.compute import Status, compute
from agentservice_operator.status.observed import DeploymentFacts, PodFacts
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.status.observations import deployment, pod, situation, states

MOST = 6
PROGRESS = [
    pod(waiting_reason="ContainerCreating"),
    pod(),  # it runs, and its startup probe has not succeeded yet
    pod(ready=True),
]


class ScaleUps(RuleBasedStateMachine):
    """A cluster that scales up, and two watches that show it with delays of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.pods: dict[str, int] = {}
        """Steps that each pod has made."""
        self.wanted = 1
        self.generation = 1
        self.observed = 1
        self.deployment_events: deque[DeploymentFacts] = deque()
        self.pod_events: deque[PodFacts] = deque()
        self.seen_pods: dict[str, PodFacts] = {}
        self.seen = deployment(1)
        self.status: Status = {"observedGeneration": -1}

    @initialize(count=st.integers(min_value=1, max_value=3))
    def serve(self, count: int) -> None:
        self.wanted = count
        self.pods = {f"pod-{number}": len(PROGRESS) for number in range(count)}
        self.seen_pods = {name: pod(name, ready=True) for name in self.pods}
        self.seen = deployment(count)
        self.look()
        assert states(self.status)["Ready"] == "True"

    @rule(more=st.integers(min_value=1, max_value=3))
    def scale_up(self, more: int) -> None:
        self.wanted = min(MOST, self.wanted + more)
        self.generation += 1
        self.tell_deployment()

    @precondition(lambda self: len(self.pods) < self.wanted)
    @rule()
    def make_pods(self) -> None:
        for number in range(len(self.pods), self.wanted):
            name = f"pod-{number}"
            self.pods[name] = 0
            self.pod_events.append(pod(name))
        self.observed = self.generation
        self.tell_deployment()

    @precondition(lambda self: any(step < len(PROGRESS) for step in self.pods.values()))
    @rule(data=st.data())
    def start_a_pod(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, step in self.pods.items() if step < len(PROGRESS)]))
        self.pod_events.append(replace(PROGRESS[self.pods[name]], name=name))
        self.pods[name] += 1

    @precondition(lambda self: any(step < len(PROGRESS) for step in self.pods.values()))
    @rule()
    def start_all_pods(self) -> None:
        for name, step in self.pods.items():
            self.pod_events.extend(replace(facts, name=name) for facts in PROGRESS[step:])
            self.pods[name] = len(PROGRESS)

    @rule()
    def count_pods(self) -> None:
        self.tell_deployment()

    @precondition(lambda self: self.deployment_events)
    @rule()
    def see_the_deployment(self) -> None:
        self.seen = self.deployment_events.popleft()
        self.look()

    @precondition(lambda self: self.pod_events)
    @rule()
    def see_a_pod(self) -> None:
        event = self.pod_events.popleft()
        self.seen_pods[event.name] = event
        self.look()

    @precondition(lambda self: self.pod_events)
    @rule()
    def see_all_pods(self) -> None:
        while self.pod_events:
            self.see_a_pod()

    @rule()
    def resync(self) -> None:
        self.look()

    @invariant()
    def it_stays_ready(self) -> None:
        if self.status.get("conditions"):
            ready = next(entry for entry in self.status["conditions"] if entry["type"] == "Ready")
            assert ready["status"] == "True", f"{ready['message']} {self.seen} {list(self.seen_pods.values())}"

    def tell_deployment(self) -> None:
        """What the Deployment controller writes: true when it counts, late when it is seen."""
        ready = sum(step == len(PROGRESS) for step in self.pods.values())
        self.deployment_events.append(
            deployment(
                self.wanted,
                ready,
                replicas=len(self.pods),
                updated_replicas=len(self.pods),
                generation=self.generation,
                observed_generation=self.observed,
            )
        )

    def look(self) -> None:
        """One reconcile."""
        case = situation(self.seen, list(self.seen_pods.values()), previous=self.status)
        self.status = compute(case).status


TestScaleUps = ScaleUps.TestCase
TestScaleUps.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
