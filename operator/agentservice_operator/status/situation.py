"""What a status depends on, as it was observed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.api.v1alpha1.types import AgentServiceSpec
from agentservice_operator.status.observed import AutoscalerFacts, DeploymentFacts, PodFacts
from agentservice_operator.status.problems import Problem
from agentservice_operator.status.routes import Routes
from agentservice_operator.status.runtime_report import RuntimeReport
from agentservice_operator.status.upgrades import Waiting
from agentservice_operator.status.volume import VolumeFacts

DEFAULT_PROGRESS_DEADLINE_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Paused:
    """Why the operator writes no child."""

    by: Reason
    applied_generation: int
    """The generation that was last applied."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A problem, and since when it lasts without a pause."""

    reason: Reason
    generation: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that a status depends on."""

    namespace: str
    name: str
    generation: int
    spec: AgentServiceSpec | None
    """None where it cannot be understood."""
    previous: Mapping[str, Any]
    """The status before this reconcile."""
    revision: str | None
    """Revision that the pods should be of now, None where it could not be built."""
    references: str | None
    """Identifies the ConfigMap values that the spec refers to, None where it refers to none."""
    waiting: Waiting | None
    """An upgrade to another revision that has no turn yet."""
    problems: Sequence[Problem]
    """What stood in the way of this reconcile, the worst first."""
    has_references: bool
    deployment: DeploymentFacts | None
    workers: DeploymentFacts | None
    """The Deployment of the pods that do tasks."""
    autoscaler: AutoscalerFacts | None
    routes: Routes
    pods: Sequence[PodFacts]
    """Of both Deployments."""
    paused: Paused | None
    volume: VolumeFacts | None
    trouble: Trouble | None
    """As the last look found it; None where there was none, or after a restart."""
    report: RuntimeReport | None
    """What the pods said last; None where they never answered this process."""
    served_kinds: frozenset[str]
    """Those of ``OPTIONAL_KINDS`` that the API server has."""
    now: datetime

    @property
    def progress_deadline(self) -> timedelta:
        """How long a rollout, or a problem, may take before nothing is expected of it any more."""
        spec = self.spec
        seconds = spec.runtime.rollout.progress_deadline_seconds if spec else DEFAULT_PROGRESS_DEADLINE_SECONDS
        return timedelta(seconds=seconds)
