"""The status of an AgentService as a pure function of what was observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agentservice_operator.api.v1alpha1.conditions import ConditionType, Reason
from agentservice_operator.api.v1alpha1.types import AgentServiceSpec
from agentservice_operator.api.v1alpha1.well_known import COMPONENT_LABEL, PAUSED_ANNOTATION, SERVER, SERVICE_LABEL
from agentservice_operator.status.observed import AutoscalerFacts, DeploymentFacts
from agentservice_operator.status.readiness import Readiness, is_late, readiness, seconds_left
from agentservice_operator.status.routes import external_url, route_accepted
from agentservice_operator.status.runtime_report import findings
from agentservice_operator.status.situation import Paused, Situation, Trouble
from agentservice_operator.status.upgrades import Inputs, applied_inputs, pending
from agentservice_operator.status.volume import binding
from agentservice_operator.status.wanted import Wanted, condition, conditions_by_type

Status = dict[str, Any]

_HTTP_PORT = 80


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status, and when to look again although nothing happened."""

    status: Status
    look_again_after: float | None
    """Seconds until a waiting problem becomes a stall; None where only events can change the status."""
    trouble: Trouble | None
    """To be remembered for the next look."""


def compute(situation: Situation) -> Verdict:
    """Say how an AgentService is, in conditions that ``kubectl wait``, kstatus, Flux, Helm and people understand."""
    ready = readiness(situation)
    previous = conditions_by_type(situation.previous)
    trouble = _trouble(situation, ready)
    stalled, look_again_after = _stalled(situation, ready, trouble)
    generation = situation.paused.applied_generation if situation.paused else situation.generation

    wanted = [Wanted(ConditionType.READY, ready.status, ready.reason, ready.message)]
    if not ready.status and not situation.paused:
        kind = ConditionType.STALLED if stalled else ConditionType.RECONCILING
        wanted.append(Wanted(kind, true=True, reason=ready.reason, message=ready.message))
    wanted += _side_conditions(situation, ready=ready.status)
    # -1 says in a status that no generation was applied yet; a condition has no word for it below 0.
    about = max(0, generation)
    conditions = [condition(each, previous.get(each.type), about, situation.now) for each in wanted]
    if look_again_after is None and ready.deployment is not None:
        left = seconds_left(situation, ready.deployment)
        look_again_after = left if ready.deployment.deadline_exceeded and left > 0 else None
    return Verdict(_status(situation, ready, generation, conditions), look_again_after, trouble)


def reason_of(status: Mapping[str, Any]) -> str:
    """The Ready condition's reason, ``Unknown`` where there is none."""
    return str(conditions_by_type(status).get(ConditionType.READY, {}).get("reason", "Unknown"))


def is_ready(status: Mapping[str, Any], generation: int) -> bool:
    """Whether a status says that this generation of the spec is Ready."""
    ready = conditions_by_type(status).get(ConditionType.READY, {})
    return (ready.get("status"), ready.get("observedGeneration")) == ("True", generation)


def has_condition(status: Mapping[str, Any], kind: ConditionType) -> bool:
    """Whether a status says anything about this aspect."""
    return kind in conditions_by_type(status)


def _status(situation: Situation, ready: Readiness, generation: int, conditions: list[dict[str, Any]]) -> Status:
    deployment = situation.deployment
    status: Status = {
        "observedGeneration": generation,
        "replicas": deployment.replicas if deployment else 0,
        "readyReplicas": deployment.ready_replicas if deployment else 0,
        "selector": f"{SERVICE_LABEL}={situation.name},{COMPONENT_LABEL}={SERVER}",
        "conditions": conditions,
    }
    if situation.spec is not None:
        port = situation.spec.exposure.service.port
        host = f"{situation.name}.{situation.namespace}.svc"
        status["address"] = {"url": f"http://{host}" if port == _HTTP_PORT else f"http://{host}:{port}"}
        status["model"] = _default_model(situation.spec)
        if url := external_url(situation.spec, situation.routes):
            status["url"] = url
    else:
        kept = ("address", "model", "url")
        status |= {name: situation.previous[name] for name in kept if name in situation.previous}
    update = situation.revision or situation.previous.get("updateRevision")
    current = update if ready.status and not situation.paused else situation.previous.get("currentRevision")
    if current:
        status["currentRevision"] = current
    if update:
        status["updateRevision"] = update
    inputs = Inputs(situation.generation, situation.references)
    live = {each.revision for each in (deployment, situation.workers) if each is not None}
    return status | applied_inputs(situation.previous, inputs, live=live, desired=situation.revision)


def _default_model(spec: AgentServiceSpec) -> str:
    handle = spec.default_model or spec.models[0].name
    model = next(model for model in spec.models if model.name == handle)
    return model.anthropic.model if model.anthropic else model.provider


def _trouble(situation: Situation, ready: Readiness) -> Trouble | None:
    """The problem of now and since when it lasts: an edit, or another problem, starts the clock anew."""
    if ready.problem is None:
        return None
    reason, generation, known = ready.problem.reason, situation.generation, situation.trouble
    if known is not None and (known.reason, known.generation) == (reason, generation):
        return known
    since = situation.now
    if known is None:  # this process has just started: what an earlier one reported still counts
        before = conditions_by_type(situation.previous).get(ConditionType.RECONCILING, {})
        if (before.get("reason"), before.get("observedGeneration")) == (reason, generation):
            since = datetime.fromisoformat(before["lastTransitionTime"])
    return Trouble(reason, generation, since)


def _stalled(situation: Situation, ready: Readiness, trouble: Trouble | None) -> tuple[bool, float | None]:
    """Whether nothing moves without a person; else in how many seconds a problem that lasts becomes that."""
    problem = ready.problem
    if ready.status or problem is None or trouble is None or situation.paused:
        return False, None
    if problem.terminal or (ready.deployment is not None and is_late(situation, ready.deployment)):
        return True, None
    before = conditions_by_type(situation.previous).get(ConditionType.STALLED)
    if before is not None and before.get("observedGeneration") == situation.generation:
        return True, None
    left = (trouble.since + situation.progress_deadline - situation.now).total_seconds()
    return (True, None) if left <= 0 else (False, left)


def _side_conditions(situation: Situation, *, ready: bool) -> list[Wanted]:
    found = [
        _references(situation),
        _scaling(situation.autoscaler),
        route_accepted(situation.spec, situation.routes) if situation.spec else None,
        _volume(situation),
        _sharing(situation),
        _pause(situation.paused),
        _upgrade(situation, ready=ready),
        _monitoring(situation),
    ]
    return [wanted for wanted in found if wanted is not None] + _reported(situation)


def _references(situation: Situation) -> Wanted | None:
    for problem in situation.problems:
        if problem.reason is Reason.REFERENCE_NOT_FOUND:
            return Wanted(ConditionType.REFERENCES_RESOLVED, true=False, reason=problem.reason, message=problem.message)
    if not situation.has_references:
        return None
    message = "Everything that the spec refers to was found."
    return Wanted(ConditionType.REFERENCES_RESOLVED, true=True, reason=Reason.RESOLVED, message=message)


def _scaling(autoscaler: AutoscalerFacts | None) -> Wanted | None:
    if autoscaler is None or autoscaler.scaling_active is None:
        return None
    return Wanted(ConditionType.SCALING_ACTIVE, autoscaler.scaling_active, autoscaler.reason, autoscaler.message)


def _volume(situation: Situation) -> Wanted | None:
    if situation.volume is None or situation.spec is None or situation.spec.state.backend != "Volume":
        return None
    return Wanted(ConditionType.VOLUME_BOUND, *binding(situation.namespace, situation.volume))


def _sharing(situation: Situation) -> Wanted | None:
    if situation.spec is None or situation.spec.state.backend == "PostgreSQL":
        return None
    if _replicas_possible(situation.spec, situation.deployment) <= 1:
        return None
    message = "State is Ephemeral: conversations live in one pod each and are lost with it."
    return Wanted(ConditionType.STATE_SHARED, true=False, reason=Reason.PER_POD_STATE, message=message)


def _pause(paused: Paused | None) -> Wanted | None:
    if paused is None:
        return None
    where = "spec.paused" if paused.by is Reason.PAUSED_BY_SPEC else f"the annotation {PAUSED_ANNOTATION}"
    message = f"The operator writes no child until {where} is removed."
    return Wanted(ConditionType.PAUSED, true=True, reason=paused.by, message=message)


def _reported(situation: Situation) -> list[Wanted]:
    """What the pods say of their models. Until those of a revision have answered, what is known of the spec holds."""
    deployment, report = situation.deployment, situation.report
    if situation.spec is None or deployment is None or deployment.wanted_replicas == 0:
        return []
    if report is not None and report.revision == deployment.revision:
        return findings(report, situation.spec)
    previous = conditions_by_type(situation.previous)
    known = [
        previous[kind] for kind in (ConditionType.PROVIDER_HEALTHY, ConditionType.MODEL_RETIRING) if kind in previous
    ]
    return [
        Wanted(ConditionType(entry["type"]), entry["status"] == "True", entry["reason"], entry["message"])
        for entry in known
        if entry.get("observedGeneration") == situation.generation
    ]


def _upgrade(situation: Situation, *, ready: bool) -> Wanted | None:
    inputs = Inputs(situation.generation, situation.references)
    said = pending(situation.previous, inputs, desired=situation.revision, ready=ready, waiting=situation.waiting)
    return said and Wanted(ConditionType.UPGRADE_PENDING, true=True, reason=said.reason, message=said.message)


def _monitoring(situation: Situation) -> Wanted | None:
    if situation.spec is None:
        return None
    observability = situation.spec.observability
    modes = {"PodMonitor": observability.pod_monitor.mode, "PrometheusRule": observability.prometheus_rule.mode}
    lacking = [kind for kind, mode in modes.items() if mode == "Always" and kind not in situation.served_kinds]
    if not lacking:
        return None
    message = (
        f"The API server has no {' and no '.join(lacking)}, or the operator may not list it; the agents serve without."
        " Install the CustomResourceDefinitions of the Prometheus operator, or set the mode to Auto."
    )
    return Wanted(ConditionType.MONITORING_AVAILABLE, true=False, reason=Reason.KIND_NOT_AVAILABLE, message=message)


def _replicas_possible(spec: AgentServiceSpec, deployment: DeploymentFacts | None) -> int:
    if spec.state.backend == "Volume":
        return 1
    if spec.autoscaling is not None:
        return spec.autoscaling.max_replicas
    if spec.replicas is not None:
        return spec.replicas
    return deployment.wanted_replicas if deployment else 1
