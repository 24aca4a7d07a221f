"""Bringing one child to its desired state: skip, adopt or refuse, hand over replicas, apply, prune."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.api.v1alpha1.well_known import SERVICE_LABEL
from agentservice_operator.builders.labels import MANAGED_BY, MANAGED_BY_LABEL, MANAGED_SELECTOR
from agentservice_operator.engine.cache import Cache, Caches, Child, Service, child_projection, controller_uid
from agentservice_operator.engine.claims import never_smaller, refused
from agentservice_operator.engine.kinds import (
    AGENT_SERVICE,
    CONFIG_MAP,
    DEPLOYMENT,
    KIND_BY_NAME,
    PERSISTENT_VOLUME_CLAIM,
    REPLICA_SET,
    Kind,
    ServiceKey,
)
from agentservice_operator.engine.live_owner import LiveOwner
from agentservice_operator.engine.ownership import digest
from agentservice_operator.engine.ports import (
    FIELD_MANAGER,
    REPLICAS_FIELD_MANAGER,
    Conflict,
    Forbidden,
    Kubernetes,
    Object,
    Recorder,
    Rejected,
)
from agentservice_operator.metrics import Metrics
from agentservice_operator.status.events import (
    Occurrence,
    Related,
    child_adopted,
    child_recreated,
    child_repaired,
)
from agentservice_operator.status.observed import DeploymentFacts
from agentservice_operator.status.problems import Problem
from agentservice_operator.status.situation import Trouble
from agentservice_operator.status.volume import VolumeFacts

log = structlog.get_logger(__name__)

REPLICAS_BY_DEFAULT = 1
"""What the API server makes of a Deployment without a count."""


class Blocked(Exception):  # noqa: N818 - a state of the cluster, not an error of ours
    """A child cannot be brought to its desired state now; the problem says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


class KeptAsItIs(Exception):  # noqa: N818 - a state of the cluster, not an error of ours
    """A child cannot be changed and serves on as it is: nothing else waits for it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(slots=True)
class Memory:
    """What is remembered of one AgentService between reconciles; losing it costs requests, never correctness."""

    uid: str
    """Of the AgentService: one of the same name that comes after it begins afresh."""
    replicas: int | None = None
    """The Deployment's last live replica count."""
    equivalent: dict[tuple[Kind, str], tuple[str, str]] = field(default_factory=dict)
    """Where the server stores a child's values in another form: digests of the intent and of what came of it."""
    settled: dict[tuple[Kind, str], str] = field(default_factory=dict)
    """Digests of the intents that children were brought to: what differs although its intent is the same was changed
    by somebody else."""
    keys_seen: tuple[str, float] | None = None
    """Digest of the key Secret's intent, and when the live one was last seen to be so."""
    trouble: Trouble | None = None
    """What keeps it from being Ready, and since when."""
    schemas_checked: tuple[int, str | None] | None = None
    """The generation whose schemas of tools have been looked at, which takes time, and what is wrong with them."""
    namespace_ends: bool = False
    """Whether it was told that its namespace is being deleted."""

    def keep_settled(self, keep: set[tuple[Kind, str]]) -> None:
        """Forget the children that are no longer desired: one that comes back is a new one."""
        self.settled = {child: intent for child, intent in self.settled.items() if child in keep}


@dataclass(frozen=True, slots=True)
class ReplicasPolicy:
    """Bounds of the count that a Deployment keeps when nobody states one."""

    minimum: int
    maximum: int | None

    def clamp(self, count: int) -> int:
        """The nearest allowed count."""
        count = max(self.minimum, count)
        return count if self.maximum is None else min(self.maximum, count)


class Children:
    """The children of every AgentService, through the API server and the caches."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        caches: Caches,
        metrics: Metrics,
        recorder: Recorder,
    ) -> None:
        self._kubernetes = kubernetes
        self._caches = caches
        self._metrics = metrics
        self._recorder = recorder

    def live_owner(self, owner: Service) -> LiveOwner:
        """What the children of one wave share."""
        return LiveOwner(self._kubernetes, owner)

    async def ensure(
        self,
        owner: Service,
        kind: Kind,
        intent: Object,
        memory: Memory,
        policy: ReplicasPolicy,
        *,
        live_owner: LiveOwner,
    ) -> None:
        """Make the live child equal to the intent, with no write where it is already.

        Raises:
            Blocked: Another object holds the name, or an old child is still being deleted.
            KeptAsItIs: The API server refuses to change a volume.
            OwnerGone: The AgentService was deleted meanwhile.
            KubernetesError: The API server refused or could not be reached.
        """
        name = intent["metadata"]["name"]
        live = self._caches.children[kind].get(owner.namespace, name)
        volume = live.facts if live is not None and isinstance(live.facts, VolumeFacts) else None
        if volume is not None:
            intent = never_smaller(intent, volume)
        wanted = digest(intent)
        try:
            tell = await self._bring(owner, kind, intent, memory, policy, live_owner=live_owner, wanted=wanted)
        except (Rejected, Forbidden) as error:
            if volume is None:
                raise
            raise KeptAsItIs(refused(volume, error)) from error
        # Only what was brought to this very intent before has been lost or changed by somebody else.
        if tell is child_adopted or (tell is not None and memory.settled.get((kind, name)) == wanted):
            self._recorder.record(owner.service, owner.uid, tell(Related(kind.api_version, kind.kind, name)))
        memory.settled[kind, name] = wanted

    async def _bring(
        self,
        owner: Service,
        kind: Kind,
        intent: Object,
        memory: Memory,
        policy: ReplicasPolicy,
        *,
        live_owner: LiveOwner,
        wanted: str,
    ) -> Callable[[Related], Occurrence] | None:
        """Write if need be; returns what there may be to tell about it."""
        name = intent["metadata"]["name"]
        cache = self._caches.children[kind]
        child = cache.get(owner.namespace, name)
        if child is not None and _is_as_intended(child, owner, intent):
            stored = memory.equivalent.get((kind, name))
            equal = child.intent_digest == wanted or stored == (wanted, child.intent_digest)
            if equal and not _is_left_at_zero(child, policy):
                self._metrics.applied(kind.kind, "skipped")
                return None
            try:
                if equal:
                    await self._hand_over_replicas(child, policy.minimum, unchanged=True)
                else:
                    await self._change(child, intent, memory, policy)
            except Conflict:
                # Gone, or another object by now: the next look must not trust the cache again.
                cache.forget(owner.namespace, name)
                raise
            return None if equal else child_repaired

        # A label-selected cache that misses an object does not prove that there is none.
        live = await self._kubernetes.get(kind, owner.namespace, name)
        if live is not None:
            adopted = require_ours(owner, kind, live)
            await self._change(child_projection(kind)(live), intent, memory, policy, unchanged=adopted)
            return child_adopted if adopted else child_repaired
        cache.forget(owner.namespace, name)
        await live_owner.require()
        await self._create(owner, kind, intent, memory, policy)
        return child_recreated

    async def prune(self, owner: Service, keep: set[tuple[Kind, str]]) -> None:
        """Delete the children that are ours and no longer desired. Volumes stay, ConfigMaps have a history."""
        for kind, cache in self._caches.children.items():
            if kind is CONFIG_MAP or kind is PERSISTENT_VOLUME_CLAIM:
                continue
            for child in self._owned(cache, owner):
                if (kind, child.name) not in keep:
                    await self._delete(kind, child)

    async def prune_config_maps(self, owner: Service, current: str, history: int) -> None:
        """Delete old configurations beyond the newest ``history``, but none that a ReplicaSet with replicas mounts."""
        cache = self._caches.children[CONFIG_MAP]
        old = [child for child in self._owned(cache, owner) if child.name != current]
        surplus = sorted(old, key=lambda child: (child.created, child.name), reverse=True)[history:]
        if not surplus:
            return
        selector = f"{SERVICE_LABEL}={owner.name},{MANAGED_SELECTOR}"
        replica_sets = await self._kubernetes.list(REPLICA_SET, owner.namespace, label_selector=selector)
        mounted = {name for item in replica_sets if item["spec"].get("replicas") for name in _mounted_config_maps(item)}
        for child in surplus:
            if child.name not in mounted:
                await self._delete(CONFIG_MAP, child)

    def _owned(self, cache: Cache[Child], owner: Service) -> list[Child]:
        mine = cache.of(ServiceKey(owner.namespace, owner.name))
        return [child for child in mine if child.controller_uid == owner.uid and not child.deleting]

    async def _delete(self, kind: Kind, child: Child) -> None:
        await self._kubernetes.delete(kind, child.namespace, child.name, uid=child.uid)
        self._caches.children[kind].forget(child.namespace, child.name)
        self._metrics.applied(kind.kind, "deleted")

    async def _change(
        self, child: Child, intent: Object, memory: Memory, policy: ReplicasPolicy, *, unchanged: bool = False
    ) -> None:
        """Apply to the object that was looked at and to no other; with ``unchanged``, only if it still is as it was."""
        kind = KIND_BY_NAME[intent["kind"]]
        facts = child.facts
        if isinstance(facts, DeploymentFacts) and child.owns_replicas and "replicas" not in intent["spec"]:
            child = await self._hand_over_replicas(child, policy.clamp(facts.wanted_replicas), unchanged=unchanged)
        await self._apply(kind, _to(child, intent, unchanged=unchanged), memory)

    async def _create(self, owner: Service, kind: Kind, intent: Object, memory: Memory, policy: ReplicasPolicy) -> None:
        """Make a child; a Deployment whose count nobody states comes back with as many pods as it had."""
        if kind is DEPLOYMENT and "replicas" not in intent["spec"]:
            last = memory.replicas if memory.replicas is not None else owner.status.get("replicas") or 1
            count = policy.clamp(last)
            if count != REPLICAS_BY_DEFAULT:
                # Stated at first and handed over afterwards: wherever this is cut off, the count is not lost.
                stated = {**intent, "spec": {**intent["spec"], "replicas": count}}
                child = await self._apply(kind, stated, memory)
                await self._change(child, intent, memory, policy)
                return
        await self._apply(kind, intent, memory)

    async def _apply(self, kind: Kind, intent: Object, memory: Memory) -> Child:
        live = await self._kubernetes.apply(kind, intent, manager=FIELD_MANAGER)
        child = self._caches.children[kind].put_own(live)
        wanted = digest(intent)
        if child.intent_digest != wanted:
            memory.equivalent[kind, child.name] = (wanted, child.intent_digest)
        self._metrics.applied(kind.kind, "applied")
        return child

    async def _hand_over_replicas(self, child: Child, count: int, *, unchanged: bool) -> Child:
        """Before the count is dropped from our intent, another manager takes it: the server would reset it to 1."""
        body: dict[str, Any] = {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.kind,
            "metadata": {"name": child.name, "namespace": child.namespace},
            "spec": {"replicas": count},
        }
        live = await self._kubernetes.apply(
            DEPLOYMENT, _to(child, body, unchanged=unchanged), manager=REPLICAS_FIELD_MANAGER
        )
        return self._caches.children[DEPLOYMENT].put_own(live)


def _is_left_at_zero(child: Child, policy: ReplicasPolicy) -> bool:
    """Whether an autoscaler would leave the Deployment at a zero that we handed over before there was one.

    A zero that somebody set on the Deployment stays: this is how autoscaling is switched off for a while.

    Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#implicit-maintenance-mode-deactivation
    """
    facts = child.facts
    return (
        isinstance(facts, DeploymentFacts)
        and child.holds_replicas
        and facts.wanted_replicas == 0
        and policy.minimum > 0
    )


def _is_as_intended(child: Child, owner: Service, intent: Object) -> bool:
    """Whether a child that is remembered is ours, and has the owner that it should have: us, or nobody."""
    owned = "ownerReferences" in intent["metadata"]
    return (
        child.service == owner.service and child.controller_uid == (owner.uid if owned else None) and not child.deleting
    )


def _to(child: Child, intent: Object, *, unchanged: bool) -> Object:
    """The intent with preconditions: without a uid, an apply would make an object anew that was deleted meanwhile."""
    precondition = {"uid": child.uid}
    if unchanged:
        precondition["resourceVersion"] = child.resource_version
    return {**intent, "metadata": {**intent["metadata"], **precondition}}


def require_ours(owner: Service, kind: Kind, live: Object) -> bool:
    """Decide about an object that holds a child's name; says whether it is to be adopted.

    Adopted is what carries our labels and has no controller (``--cascade=orphan``, a restored backup).

    Raises:
        Blocked: It is somebody else's, or on its way out.
    """
    meta = live["metadata"]
    controller = controller_uid(live)
    if controller == owner.uid and "deletionTimestamp" not in meta:
        return False
    labels = meta.get("labels") or {}
    ours = labels.get(MANAGED_BY_LABEL) == MANAGED_BY and labels.get(SERVICE_LABEL) == owner.name
    of_an_earlier_owner = ours and any(
        reference.get("controller")
        and reference.get("kind") == AGENT_SERVICE.kind
        and reference.get("name") == owner.name
        for reference in meta.get("ownerReferences") or ()
    )
    if ours and ("deletionTimestamp" in meta or of_an_earlier_owner):
        message = f"Waiting until the earlier {kind.kind} {meta['name']} is deleted."
        raise Blocked(Problem(Reason.WAITING_FOR_DELETION, message))
    if ours and controller is None:
        return True
    message = (
        f"A {kind.kind} named {meta['name']} exists and does not belong to this AgentService;"
        " it was left as it is. Delete or rename it, or rename the AgentService."
    )
    raise Blocked(Problem(Reason.NAME_CONFLICT, message, terminal=True))


def _mounted_config_maps(replica_set: Object) -> list[str]:
    volumes = replica_set["spec"]["template"]["spec"].get("volumes") or ()
    return [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]
