"""One reconcile: look at the whole state of an AgentService, bring its children to what the spec says, report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import groupby
from typing import TypeVar

import structlog

from agentservice_operator.api.v1alpha1.conditions import ConditionType, Reason
from agentservice_operator.api.v1alpha1.input_schemas import check_input_schemas
from agentservice_operator.api.v1alpha1.parse import InvalidSpec, parse
from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.build import build
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.deployment import revision as revision_of
from agentservice_operator.builders.names import data_claim, workers
from agentservice_operator.engine.api_keys import ApiKeys
from agentservice_operator.engine.cache import Caches, ChildFacts, Service
from agentservice_operator.engine.children import Blocked, Children, KeptAsItIs, Memory, ReplicasPolicy
from agentservice_operator.engine.kinds import (
    CHILDREN,
    CONFIG_MAP,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    HTTP_ROUTE,
    INGRESS,
    KIND_BY_NAME,
    PERSISTENT_VOLUME_CLAIM,
    SECRET,
    SERVICE_ACCOUNT,
    Kind,
    ServiceKey,
    Wave,
)
from agentservice_operator.engine.live_owner import LiveOwner, OwnerGone
from agentservice_operator.engine.pod_events import PodEvents
from agentservice_operator.engine.ports import Conflict, Forbidden, KubernetesError, Object, Recorder, Rejected
from agentservice_operator.engine.references import References, Resolved
from agentservice_operator.engine.report import Reporter
from agentservice_operator.engine.upgrades import Upgrades
from agentservice_operator.status.compute import compute, has_condition, is_ready
from agentservice_operator.status.events import changes
from agentservice_operator.status.observed import AutoscalerFacts, DeploymentFacts, HTTPRouteFacts, IngressFacts
from agentservice_operator.status.problems import Problem
from agentservice_operator.status.routes import Routes
from agentservice_operator.status.runtime_report import RuntimeReport
from agentservice_operator.status.situation import Paused, Situation
from agentservice_operator.status.upgrades import Inputs, Waiting, is_upgrade
from agentservice_operator.status.volume import VolumeFacts

log = structlog.get_logger(__name__)

F = TypeVar("F", bound=ChildFacts)

RECHECK_SECONDS = 80.0
"""The key Secret is not watched: it is looked at this often, so that a lost one is back within 120 s."""
_LOOK_AGAIN = {Reason.WAITING_FOR_DELETION: 2.0, Reason.NAME_CONFLICT: 15.0}
"""Seconds. No watch shows the end of what stands in the way: an old key Secret, an object that is not ours."""
_KIND_ENDS = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
"""What an apply meets while a CustomResourceDefinition is deleted, until its reflector says that the kind is gone."""
_OF_THE_PODS = frozenset({CONFIG_MAP, DEPLOYMENT, HORIZONTAL_POD_AUTOSCALER})
"""While references are unresolved these stay as they are, for a running Deployment is never changed to a broken one; so
they do while an upgrade waits for its turn."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile asks of the queue."""

    requeue_after: float | None = None
    """Seconds; None where only a change matters."""


@dataclass(frozen=True, slots=True)
class _Applied:
    """How far the children got."""

    problems: tuple[Problem, ...]
    revision: str | None
    resolved: Resolved | None
    waiting: Waiting | None = None
    failure: KubernetesError | None = None


class Reconciler:
    """Reconciles AgentServices by key."""

    def __init__(
        self,
        *,
        caches: Caches,
        children: Children,
        api_keys: ApiKeys,
        references: References,
        pod_events: PodEvents,
        reporter: Reporter,
        recorder: Recorder,
        reports: Callable[[ServiceKey], RuntimeReport | None],
        upgrades: Upgrades,
        defaults: BuildContext,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._caches = caches
        self._children = children
        self._api_keys = api_keys
        self._references = references
        self._pod_events = pod_events
        self._reporter = reporter
        self._recorder = recorder
        self._reports = reports
        self._upgrades = upgrades
        self._defaults = defaults
        self._clock = clock
        self._memories: dict[ServiceKey, Memory] = {}
        self._latest: dict[ServiceKey, tuple[str, int, _Applied]] = {}
        """By AgentService, for which uid and generation something was found, and what."""

    async def __call__(self, key: ServiceKey) -> Result:
        """Reconcile one AgentService.

        Raises:
            KubernetesError: The API server refused or could not be reached; the caller tries again with backoff.
            NotLeader: Another replica writes now.
        """
        service = self._caches.services.get(*key)
        if service is None:
            self._forget(key)
            return Result()
        if service.deleting:
            return Result()
        memory = self._memory(service)
        held_a_turn = self._upgrades.holds(service)
        try:
            spec = parse(service.raw)
            await _check_schemas(spec, service.generation, memory)
        except InvalidSpec as error:
            applied = _Applied((Problem(Reason.INVALID_SPEC, str(error), terminal=True),), None, None)
            return await self._report(service, None, applied, memory, paused=None)
        paused = _paused(service, spec)
        try:
            applied = _Applied((), None, None) if paused else await self._apply_if_possible(service, spec, memory)
        except OwnerGone:
            log.info(
                "the AgentService is gone; waiting for its deletion to be seen", namespace=key.namespace, name=key.name
            )
            return Result()
        result = await self._report(service, spec, applied, memory, paused=paused)
        if applied.failure is None or isinstance(applied.failure, Conflict | Forbidden):
            self._upgrades.known(key)
        if held_a_turn and not self._upgrades.holds(self._caches.services.get(*key) or service):
            self._upgrades.wake_next()
        if isinstance(applied.failure, Forbidden) and applied.failure.terminating:
            # No trouble, and no try would go better: the AgentService goes with its namespace.
            if not memory.namespace_ends:
                log.info("its namespace is being deleted; children are not made again", **key._asdict())
            memory.namespace_ends = True
            return result
        if applied.failure is not None:
            raise applied.failure
        return result

    def _forget(self, key: ServiceKey) -> None:
        self._memories.pop(key, None)
        self._latest.pop(key, None)
        self._references.forget(key)
        self._pod_events.forget(key)
        self._reporter.forget(key)
        self._upgrades.forget(key)

    def _memory(self, service: Service) -> Memory:
        memory = self._memories.get(service.service)
        if memory is None or memory.uid != service.uid:
            memory = self._memories[service.service] = Memory(service.uid)
        deployment = self._caches.children[DEPLOYMENT].get(service.namespace, service.name)
        if (
            deployment is not None
            and isinstance(deployment.facts, DeploymentFacts)
            and deployment.controller_uid == service.uid
        ):
            memory.replicas = deployment.facts.wanted_replicas
        return memory

    async def _apply_if_possible(self, service: Service, spec: AgentService, memory: Memory) -> _Applied:
        """Bring the children to the spec; where the API server cannot be asked, what was found last still holds.

        Pods come and go meanwhile, and their state is reported whatever else fails.
        """
        try:
            applied = await self._apply(service, spec, memory)
        except KubernetesError as error:
            uid, generation, latest = self._latest.get(service.service, ("", 0, None))
            if latest is not None and (uid, generation) == (service.uid, service.generation):
                return replace(latest, failure=error)
            problems = () if is_ready(service.status, service.generation) else (_unfinished(error),)
            referred = has_condition(service.status, ConditionType.REFERENCES_RESOLVED)
            return _Applied(problems, None, Resolved({}, {}, (), any=referred, look_again_after=None), failure=error)
        self._latest[service.service] = service.uid, service.generation, applied
        return applied

    async def _apply(self, service: Service, spec: AgentService, memory: Memory) -> _Applied:
        resolved = await self._references.resolve(spec)
        context = replace(
            self._defaults,
            config_map_values=resolved.values,
            trust_bundle_digests=resolved.trust_bundles,
            served_kinds=self._caches.served,
        )
        desired = build(spec, context)
        keep = {(KIND_BY_NAME[intent["kind"]], intent["metadata"]["name"]) for intent in desired}
        memory.keep_settled(keep)
        problems = list(resolved.problems)
        kept: list[Problem] = []
        # Without the values that it refers to, what was built is not what will be rolled out.
        revision = None if problems else next(revision_of(each) for each in desired if each["kind"] == DEPLOYMENT.kind)
        if not self._rolled_out(service, revision):
            # Pods of an earlier revision may run as it, and be made again until the last of them is replaced.
            keep.add((SERVICE_ACCOUNT, service.name))
        if problems:
            # The servers stay as they are, and leave their tasks to the workers that they had.
            keep |= {(kind, workers(service.name)) for kind in CHILDREN}
        waiting = self._wait_for_turn(service, resolved, revision)
        policy = _replicas_policy(spec)
        failure: KubernetesError | None = None
        for wave, intents in groupby(desired, key=lambda intent: CHILDREN[KIND_BY_NAME[intent["kind"]]]):
            if wave is Wave.WORKLOAD and waiting is None:
                await self._children.prune(service, keep)  # but nothing that pods which are not upgraded yet may need
            held = _OF_THE_PODS if problems or waiting else frozenset()
            ready = [intent for intent in intents if KIND_BY_NAME[intent["kind"]] not in held]
            problem, failure, aside = await self._apply_wave(service, ready, memory, policy)
            kept += aside
            if problem is not None:
                problems.insert(0, problem)
            elif wave is Wave.MONITORING:
                continue
            elif failure is not None and failure.status not in _KIND_ENDS and self._matters(service, ready):
                problems.append(_unfinished(failure))
            if failure is not None or problem is not None:
                return _Applied((*problems, *kept), revision, resolved, waiting, failure)
        if not problems and waiting is None:
            config_map = next(intent["metadata"]["name"] for intent in desired if intent["kind"] == CONFIG_MAP.kind)
            await self._children.prune_config_maps(service, config_map, spec.spec.runtime.revision_history_limit)
        return _Applied((*problems, *kept), revision, resolved, waiting, failure)

    def _wait_for_turn(self, service: Service, resolved: Resolved, revision: str | None) -> Waiting | None:
        """Ask for a turn where the way to a revision is an upgrade of ours; set where there is none yet."""
        deployment = self._facts(service, DEPLOYMENT, DeploymentFacts)
        if revision is None or deployment is None:
            return None
        inputs = Inputs(service.generation, resolved.digest)
        live = {facts.revision for facts in self._caches.deployments(service)}
        if not is_upgrade(service.status, inputs, live=live, desired=revision):
            return None
        if self._upgrades.take(service):
            return None
        return Waiting(deployment.revision, revision, self._upgrades.limit.text)

    def _rolled_out(self, service: Service, revision: str | None) -> bool:
        deployments = self._caches.deployments(service)
        return bool(deployments) and all(
            deployment.revision == revision
            and deployment.observed_generation >= deployment.generation
            and deployment.updated_replicas == deployment.replicas
            for deployment in deployments
        )

    async def _apply_wave(
        self, service: Service, intents: Iterable[Object], memory: Memory, policy: ReplicasPolicy
    ) -> tuple[Problem | None, KubernetesError | None, list[Problem]]:
        """Apply side by side.

        Returns:
            The first problem that stands in the way, the first failure to try again after, and the problems that only
            have to be told.
        """
        live_owner = self._children.live_owner(service)
        outcomes = await asyncio.gather(
            *(self._apply_one(service, intent, memory, policy, live_owner=live_owner) for intent in intents),
            return_exceptions=True,
        )
        problem: Problem | None = None
        failure: KubernetesError | None = None
        kept: list[Problem] = []
        for outcome in outcomes:
            match outcome:
                case None:
                    continue
                case KeptAsItIs():
                    kept.append(outcome.problem)
                case Blocked():
                    problem = problem or outcome.problem
                case Rejected():
                    problem = problem or Problem(
                        Reason.CHILD_REJECTED, f"The API server refuses a child: {outcome}", terminal=True
                    )
                case Forbidden(quota=True):
                    problem = problem or Problem(
                        Reason.QUOTA_EXCEEDED, f"The namespace's quota leaves no room: {outcome}"
                    )
                    failure = failure or outcome
                case Conflict():
                    failure = failure or outcome  # a precondition of ours: look again
                case KubernetesError():
                    failure = failure or outcome
                case _:
                    raise outcome
        return problem, failure, kept

    def _matters(self, service: Service, intents: Iterable[Object]) -> bool:
        """Whether a failure means that the spec is not served; a moment without an answer says nothing about agents."""
        if not is_ready(service.status, service.generation):
            return True
        kinds = ((KIND_BY_NAME[intent["kind"]], intent["metadata"]["name"]) for intent in intents)
        return any(
            kind is not SECRET and self._caches.children[kind].get(service.namespace, name) is None
            for kind, name in kinds
        )

    async def _apply_one(
        self, service: Service, intent: Object, memory: Memory, policy: ReplicasPolicy, *, live_owner: LiveOwner
    ) -> None:
        kind = KIND_BY_NAME[intent["kind"]]
        if kind is SECRET:
            await self._api_keys.ensure(service, intent, memory, live_owner=live_owner)
        else:
            await self._children.ensure(service, kind, intent, memory, policy, live_owner=live_owner)

    async def _report(
        self, service: Service, spec: AgentService | None, applied: _Applied, memory: Memory, *, paused: Paused | None
    ) -> Result:
        current = self._caches.services.get(service.namespace, service.name) or service
        key = ServiceKey(service.namespace, service.name)
        heard = await self._pod_events.hear(key, [pod.facts for pod in self._caches.pods.of(key)])
        verdict = compute(
            Situation(
                namespace=service.namespace,
                name=service.name,
                generation=service.generation,
                spec=spec.spec if spec else None,
                previous=current.status,
                revision=applied.waiting.live if applied.waiting else applied.revision,
                references=applied.resolved.digest if applied.resolved else None,
                waiting=applied.waiting,
                problems=applied.problems,
                has_references=applied.resolved is not None and applied.resolved.any,
                deployment=self._facts(service, DEPLOYMENT, DeploymentFacts),
                workers=self._facts(service, DEPLOYMENT, DeploymentFacts, workers(service.name)),
                autoscaler=self._facts(service, HORIZONTAL_POD_AUTOSCALER, AutoscalerFacts),
                routes=Routes(
                    ingress=self._facts(service, INGRESS, IngressFacts),
                    http_route=self._facts(service, HTTP_ROUTE, HTTPRouteFacts),
                    http_routes_served=HTTP_ROUTE.kind in self._caches.served,
                    gateways_let_in=bool(self._defaults.defaults.gateway_namespaces),
                ),
                pods=heard.pods,
                paused=paused,
                volume=self._volume(service),
                trouble=memory.trouble,
                report=self._reports(key),
                served_kinds=self._caches.served,
                now=datetime.now(UTC),
            )
        )
        memory.trouble = verdict.trouble
        report_again = await self._reporter.report(current, verdict.status)
        if report_again is None:  # else it is not written yet, and would be told at every look until then
            for occurrence in changes(current.status, verdict.status):
                self._recorder.record(key, service.uid, occurrence)
        waits = [
            RECHECK_SECONDS,
            verdict.look_again_after,
            report_again,
            heard.look_again_after,
            applied.resolved.look_again_after if applied.resolved else None,
            *(_LOOK_AGAIN[problem.reason] for problem in applied.problems if problem.reason in _LOOK_AGAIN),
        ]
        return Result(requeue_after=min(wait for wait in waits if wait is not None))

    def _facts(self, service: Service, kind: Kind, facts: type[F], name: str | None = None) -> F | None:
        child = self._caches.children[kind].get(service.namespace, name or service.name)
        if child is None or child.controller_uid != service.uid or child.deleting:
            return None
        return child.facts if isinstance(child.facts, facts) else None

    def _volume(self, service: Service) -> VolumeFacts | None:
        """Of the claim with the conversations, which may have no owner."""
        child = self._caches.children[PERSISTENT_VOLUME_CLAIM].get(service.namespace, data_claim(service.name))
        ours = child is not None and child.service == service.service and child.controller_uid in (None, service.uid)
        return child.facts if child is not None and ours and isinstance(child.facts, VolumeFacts) else None


async def _check_schemas(spec: AgentService, generation: int, memory: Memory) -> None:
    """Check the schemas of tools, once for each generation, and in a thread: a large one would hold up all others.

    Raises:
        InvalidSpec: One of them cannot be used.
    """
    if all(tool.http is None for tool in spec.spec.tools):
        return
    if memory.schemas_checked is None or memory.schemas_checked[0] != generation:
        memory.schemas_checked = generation, await asyncio.to_thread(_fault_of_schemas, spec)
    _, fault = memory.schemas_checked
    if fault is not None:
        raise InvalidSpec(fault)


def _fault_of_schemas(spec: AgentService) -> str | None:
    try:
        check_input_schemas(spec)
    except InvalidSpec as error:
        return str(error)
    return None


def _paused(service: Service, spec: AgentService) -> Paused | None:
    applied = service.status.get("observedGeneration", -1)
    if spec.spec.paused:
        return Paused(Reason.PAUSED_BY_SPEC, applied)
    if service.paused:
        return Paused(Reason.PAUSED_BY_ANNOTATION, applied)
    return None


def _unfinished(failure: KubernetesError) -> Problem:
    if isinstance(failure, Forbidden) and not failure.terminating:
        return Problem(Reason.CHILD_REJECTED, f"The API server does not let the operator keep a child: {failure}")
    return Problem(Reason.PROGRESSING, f"A child could not be written yet; it is tried again: {failure}")


def _replicas_policy(spec: AgentService) -> ReplicasPolicy:
    autoscaling = spec.spec.autoscaling
    if autoscaling is None:
        return ReplicasPolicy(0, None)
    return ReplicasPolicy(autoscaling.min_replicas, autoscaling.max_replicas)
