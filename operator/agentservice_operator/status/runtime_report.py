"""What the runtime of a pod reports of itself, and what is made of the reports of several pods; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentservice_operator.api.v1alpha1.conditions import ConditionType, Reason
from agentservice_operator.api.v1alpha1.types import AgentServiceSpec, Model
from agentservice_operator.status.wanted import Wanted

Health = Literal["unknown", "healthy", "failing"]


class _Document(BaseModel):
    """Part of a pod's answer. A pod may run any image: nothing of it is shown that is not of a known form."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ModelReport(_Document):
    """How one model does in one pod."""

    name: Annotated[str, Field(max_length=63)]
    health: Health
    age_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Since the call that said so."""
    code: Annotated[str | None, Field(max_length=64)] = None
    """The runtime's name for the latest failure, where failing."""
    retires: date | None = None


class PodReport(_Document):
    """The part of ``/statusz`` that the operator reads."""

    revision: Annotated[str, Field(max_length=63)]
    models: Annotated[tuple[ModelReport, ...], Field(max_length=64)] = ()


@dataclass(frozen=True, slots=True)
class ModelState:
    """How one model does, in all pods that were asked."""

    name: str
    health: Health
    code: str | None
    retires: date | None


@dataclass(frozen=True, slots=True)
class RuntimeReport:
    """What the pods of one revision report; equal where nothing that a status shows is different."""

    revision: str
    models: tuple[ModelState, ...]


def combine(reports: Iterable[PodReport], revision: str) -> RuntimeReport | None:
    """The reports of the pods of one revision as one; None where there is none.

    Of each model the latest call counts, whichever pod made it: one that failed a while ago in a pod without traffic
    says less than one that has just succeeded in another.
    """
    said = [report for report in reports if report.revision == revision]
    if not said:
        return None
    latest: dict[str, ModelReport] = {}
    for model in sorted((model for report in said for model in report.models), key=_by_weight):
        latest[model.name] = model
    models = (ModelState(each.name, each.health, each.code, each.retires) for each in latest.values())
    return RuntimeReport(revision, tuple(sorted(models, key=lambda model: model.name)))


def findings(report: RuntimeReport, spec: AgentServiceSpec) -> list[Wanted]:
    """What a report says about the models of the spec."""
    known = {model.name: model for model in spec.models if model.anthropic}
    states = [(known[state.name], state) for state in report.models if state.name in known]
    failing = [_failure(model, state.code) for model, state in states if state.health == "failing"]
    found = []
    if failing:
        found.append(Wanted(ConditionType.PROVIDER_HEALTHY, true=False, reason=failing[0][0], message=_joined(failing)))
    elif any(state.health == "healthy" for _, state in states):
        message = "The latest calls of the models were answered."
        found.append(Wanted(ConditionType.PROVIDER_HEALTHY, true=True, reason=Reason.PROVIDER_ANSWERS, message=message))
    going = [_retirement(model, state.retires) for model, state in states if state.retires is not None]
    if going:
        message = " ".join(going)
        found.append(Wanted(ConditionType.MODEL_RETIRING, true=True, reason=Reason.MODEL_RETIRES, message=message))
    return found


def _by_weight(model: ModelReport) -> tuple[bool, float]:
    """The last one counts: what says something, and of that the newest."""
    return model.health != "unknown", -model.age_seconds


def _failure(model: Model, code: str | None) -> tuple[Reason, str]:
    secret = model.anthropic.credentials.secret_key_ref if model.anthropic else None
    match code:
        case "upstream_unauthorized" if secret:
            reason = Reason.CREDENTIALS_REFUSED
            what = f"the provider refuses the key in Secret {secret.name}, key {secret.key}"
            remedy = "put a valid one there, it is used without a restart"
        case "upstream_model_not_found" if model.anthropic:
            reason = Reason.MODEL_NOT_FOUND
            what = f"the provider does not know {model.anthropic.model}"
            remedy = f"correct anthropic.model of {model.name} in spec.models"
        case "upstream_overloaded":
            reason = Reason.PROVIDER_OVERLOADED
            what = "the provider is overloaded, or limits this key"
            remedy = "ask it for a higher limit, or send fewer requests"
        case _:
            reason = Reason.PROVIDER_UNAVAILABLE
            what = "the provider fails or cannot be reached"
            remedy = "see its status page, anthropic.baseURL, and where the pods may connect to"
    return reason, f"Model {model.name}: {what}; {remedy}."


def _joined(failing: Sequence[tuple[Reason, str]]) -> str:
    return " ".join(message for _, message in failing)


def _retirement(model: Model, day: date) -> str:
    name = model.anthropic.model if model.anthropic else model.name
    return (
        f"Model {model.name}: {name} is announced to retire on {day.isoformat()};"
        f" choose another one in anthropic.model of {model.name} in spec.models."
    )
