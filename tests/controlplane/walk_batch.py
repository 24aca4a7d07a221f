"""Random walks on a real API server: where a walk ends must not depend on the way that it took.

Each walk is lived by one AgentService, edit by edit; another one is made with the spec of its end. The children of both
must be equal. A batch of walks runs side by side in one namespace of one operator.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from agentservice_operator.api.v1alpha1.parse import parse
from agentservice_operator.builders.references import references
from agentservice_operator.engine.report import COUNTS_EVERY_SECONDS

from dev.api_client import ApiError
from dev.process import DeadlineError, wait_until
from tests.authority import authority_pem
from tests.controlplane.agent_services import AgentServices, Object, agent_service
from tests.controlplane.operator_process import OperatorProcess, passes
from tests.controlplane.service_state import Snapshot, is_settled
from tests.unit.transitions.leaves import Spec
from tests.unit.transitions.walks import Step, Walk

SETTLED_WITHIN = 120.0
"""Seconds for all edits of one round; a few on an idle machine."""
EQUAL_WITHIN = 90.0
"""Seconds from the last edit."""

_REFUSALS = {http.client.BAD_REQUEST, http.client.UNPROCESSABLE_ENTITY, http.client.INTERNAL_SERVER_ERROR}
"""Of an edit that breaks a rule; the last one is what server-side apply says of an item without its key."""


@dataclass
class Report:
    """How walks went.

    Args:
        walked: how many came to their end.
        edits: how many edits were taken.
        refused: how many the API server refused.
        differences: by the name of a walk: how it differs from one that went straight to its end.
        rejected: names of walks whose end a child refuses: nothing can be compared there.
    """

    walked: int = 0
    edits: int = 0
    refused: int = 0
    differences: dict[str, str] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Count another report in."""
        self.walked += other.walked
        self.edits += other.edits
        self.refused += other.refused
        self.differences |= other.differences
        self.rejected += other.rejected


@dataclass
class _Life:
    """One walk in its namespace: the AgentService that walks, and the one that is made at its end."""

    walk: Walk
    number: int
    end: Spec = field(default_factory=dict)
    deployments: set[str] = field(default_factory=set)

    @property
    def walker(self) -> str:
        return f"walker-{self.number}"

    @property
    def straight(self) -> str:
        return f"straight-{self.number}"


def run(services: AgentServices, home: str, walks: Sequence[Walk]) -> Report:
    """Walk side by side in one namespace, and compare.

    Args:
        services: of a namespace that an operator watches.
        home: the operator's own namespace.
        walks: which.
    """
    make_references(services, (step.spec for walk in walks for step in walk.steps if not step.refused))
    lives = [_Life(walk, number) for number, walk in enumerate(walks)]
    report = Report(walked=len(lives))
    for round_ in range(max(len(walk.steps) for walk in walks)):
        under_way = [life for life in lives if round_ < len(life.walk.steps)]
        for life in under_way:
            _take(services, life, life.walk.steps[round_], report)
        awaited = {life.walker for life in under_way if life.walk.steps[round_].awaited}
        _wait_settled(services, awaited)
        _note_deployments(services, lives)
    for life in lives:
        services.cluster.api.apply(agent_service(services.namespace, life.straight) | {"spec": life.end}, force=True)
    _wait_settled(services, {name for life in lives for name in (life.walker, life.straight)})
    _compare(services, home, lives, report)
    return report


def make_references(services: AgentServices, specs: Iterable[Spec]) -> None:
    """Make whatever some specs refer to."""
    authority = authority_pem()
    secrets: dict[str, dict[str, str]] = {}
    config_maps: dict[str, dict[str, str]] = {}
    for spec in specs:
        wanted = references(parse({"metadata": {"name": "any", "namespace": "any"}, "spec": spec}))
        for made, keys in ((secrets, wanted.secrets), (config_maps, wanted.config_maps)):
            for name, key in keys:
                made.setdefault(name, {}).setdefault(key, f"Value of {key}.")
        for name, client in wanted.api_keys:
            secrets.setdefault(name, {}).setdefault(client or "default", f"Key of {client}.")
        if wanted.trust_bundle is not None:
            name, key = wanted.trust_bundle
            config_maps.setdefault(name, {})[key] = authority
        if wanted.service_account is not None:
            services.make_service_account(wanted.service_account)
    for name, values in secrets.items():
        services.make_secret(name, **values)
    for name, values in config_maps.items():
        services.make_config_map(name, **values)


def operator_troubles(operator: OperatorProcess) -> list[str]:
    """What must not happen meanwhile: its end, a traceback, a write that contradicts what is there (ACT-7, ACT-9)."""
    troubles = [] if operator.child.exit_code is None else [f"ended by itself\n{operator.child.log_tail(20)}"]
    troubles += [line for line in operator.child.log.read_text(errors="replace").splitlines() if "Traceback" in line]
    refused = [write for write in operator.writes() if write.code == http.client.UNPROCESSABLE_ENTITY]
    troubles += [f"{write.verb} {write.resource} {write.name} was answered with 422" for write in refused]
    return troubles


def _take(services: AgentServices, life: _Life, step: Step, report: Report) -> None:
    try:
        services.cluster.api.apply(agent_service(services.namespace, life.walker) | {"spec": step.spec}, force=True)
    except ApiError as error:
        # A valid one may break a rule that compares it with the one before.
        if error.code not in (_REFUSALS if step.refused else {http.client.UNPROCESSABLE_ENTITY}):
            raise
        report.refused += 1
        return
    assert not step.refused, f"{life.walk.name}: the API server takes what the parser refuses: {step.what}"
    life.end = step.spec
    report.edits += 1


def _wait_settled(services: AgentServices, names: set[str]) -> None:
    """Wait as long as it may take; what is not settled then is found where all are compared."""

    def settled() -> bool:
        found = services.cluster.api.list(services.path("AgentService", ""))
        return all(is_settled(item) for item in found if item["metadata"]["name"] in names)

    with suppress(DeadlineError):
        wait_until(settled, deadline=SETTLED_WITHIN, interval=0.5)


def _note_deployments(services: AgentServices, lives: Iterable[_Life]) -> None:
    found = services.cluster.api.list(services.path("Deployment", ""))
    uids = {item["metadata"]["name"]: item["metadata"]["uid"] for item in found}
    for life in lives:
        if life.walker in uids:
            life.deployments.add(uids[life.walker])


def _compare(services: AgentServices, home: str, lives: Sequence[_Life], report: Report) -> None:
    """Wait until both are equal, and look once more when the operator has had time to change its mind."""
    end = time.monotonic() + EQUAL_WITHIN
    once_more = False
    while True:
        snapshot = Snapshot.take(services.cluster, services.namespace, home)
        differences = {life.walk.name: _difference(snapshot, life) for life in lives}
        found = {name: difference for name, difference in differences.items() if difference}
        if time.monotonic() >= end or (once_more and not found):
            break
        once_more = not found
        passes(COUNTS_EVERY_SECONDS + 1 if once_more else 1)
    report.differences |= found
    report.rejected += [life.walk.name for life in lives if _is_rejected(snapshot.service(life.straight))]


def _difference(snapshot: Snapshot, life: _Life) -> str:
    if _is_rejected(snapshot.service(life.straight)):
        return ""
    history = life.end.get("runtime", {}).get("revisionHistoryLimit", 3)
    checks: tuple[Callable[[], str], ...] = (
        lambda: _unsettled(snapshot.service(life.walker)),
        lambda: snapshot.state(life.straight).difference(snapshot.state(life.walker)),
        lambda: _orphans(snapshot, life),
        lambda: "" if len(life.deployments) <= 1 else f"the Deployment was made {len(life.deployments)} times",
        lambda: _surplus(snapshot, life, history),
    )
    return next((found for check in checks if (found := check())), "")


def _is_rejected(service: Object) -> bool:
    return any(entry["type"] == "Stalled" for entry in service["status"]["conditions"])


def _unsettled(service: Object) -> str:
    return "" if is_settled(service) else f"it does not come to rest: {service.get('status')}"


def _orphans(snapshot: Snapshot, life: _Life) -> str:
    """ReplicaSets that the Deployment does not own: a selector that changes leaves such behind (ACT-9)."""
    owners = {item["metadata"]["uid"] for item in snapshot.objects("Deployment", life.walker)}
    orphans = [
        item["metadata"]["name"]
        for item in snapshot.objects("ReplicaSet", life.walker)
        if not owners & {reference["uid"] for reference in item["metadata"].get("ownerReferences", ())}
    ]
    return f"ReplicaSets that nobody owns: {', '.join(orphans)}" if orphans else ""


def _surplus(snapshot: Snapshot, life: _Life, history: int) -> str:
    """Old configurations beyond those that are kept for a rollback and those that pods still use."""
    used = str([item for item in snapshot.objects("ReplicaSet", life.walker) if item["spec"]["replicas"]])
    names = [item["metadata"]["name"] for item in snapshot.objects("ConfigMap", life.walker)]
    unused = [name for name in names if name not in used]
    return f"{len(unused)} unused configurations are kept: {', '.join(unused)}" if len(unused) > history + 1 else ""
