"""What was observed of an AgentService, as small as a test needs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agentservice_operator.api.v1alpha1.parse import parse
from agentservice_operator.api.v1alpha1.types import AgentServiceSpec
from agentservice_operator.api.v1alpha1.well_known import OPTIONAL_KINDS
from agentservice_operator.status.compute import Status
from agentservice_operator.status.observed import DeploymentFacts, PodFacts
from agentservice_operator.status.routes import Routes
from agentservice_operator.status.situation import Situation

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
OLD, NEW = "0ld0ld0ld0", "new1new1ne"
IMAGE = "registry.example/runtime:1"


def spec(**fields: Any) -> AgentServiceSpec:
    """The smallest spec, or one with further fields."""
    models = [{"name": "main", "provider": "Echo"}]
    agents = [{"name": "assistant", "systemPrompt": "Help."}]
    metadata = {"name": "hello", "namespace": "team-a"}
    return parse({"metadata": metadata, "spec": {"models": models, "agents": agents, **fields}}).spec


def deployment(wanted: int = 1, available: int | None = None, **fields: Any) -> DeploymentFacts:
    """A Deployment of the newest revision whose pods are all available, unless told otherwise."""
    available = wanted if available is None else available
    facts = DeploymentFacts(
        revision=NEW,
        generation=1,
        observed_generation=1,
        wanted_replicas=wanted,
        replicas=wanted,
        updated_replicas=wanted,
        ready_replicas=available,
        available_replicas=available,
        applied_at="2026-11-21T11:00:00Z",
        deadline_exceeded=False,
        replica_failure=None,
    )
    return replace(facts, **fields)


def pod(name: str = "hello-1", **fields: Any) -> PodFacts:
    """A pod of the newest revision that has just been made."""
    facts = PodFacts(
        name=name,
        uid=f"uid-of-{name}",
        component="server",
        revision=NEW,
        ready=False,
        unready_since="",
        lost_readiness=False,
        deleting=False,
        restarts=0,
        waiting_reason=None,
        waiting_message=None,
        exit_code=None,
        exit_reason=None,
        ending=None,
        unschedulable=None,
        image=IMAGE,
        address="192.0.2.1",
    )
    return replace(facts, **fields)


def situation(facts: DeploymentFacts | None = None, pods: Sequence[PodFacts] = (), **fields: Any) -> Situation:
    """Nothing in the way, the newest revision wanted."""
    whole = Situation(
        namespace="team-a",
        name="hello",
        generation=1,
        spec=spec(),
        previous={"observedGeneration": -1},
        revision=NEW,
        references=None,
        waiting=None,
        problems=(),
        has_references=False,
        deployment=facts,
        workers=None,
        autoscaler=None,
        routes=Routes(),
        pods=pods,
        paused=None,
        volume=None,
        trouble=None,
        report=None,
        served_kinds=OPTIONAL_KINDS,
        now=NOW,
    )
    return replace(whole, **fields)


def condition(status: Status, kind: str) -> dict[str, Any]:
    """A condition, empty where there is none."""
    return next((entry for entry in status["conditions"] if entry["type"] == kind), {})


def states(status: Status) -> dict[str, str]:
    """Status by type of condition."""
    return {entry["type"]: entry["status"] for entry in status["conditions"]}
