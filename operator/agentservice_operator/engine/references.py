"""What specs refer to by name: Secrets (they and their keys are there), ConfigMaps (their values), ServiceAccounts."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.api.v1alpha1.types import MAX_PROMPT_CHARACTERS, AgentService
from agentservice_operator.builders.hashing import short_hash
from agentservice_operator.builders.references import references
from agentservice_operator.builders.trust_bundle import UnusableTrustBundle, trust_bundle_digest
from agentservice_operator.engine.kinds import CONFIG_MAP, SECRET, SERVICE_ACCOUNT, Kind, ServiceKey
from agentservice_operator.engine.ports import Kubernetes, Name, Object
from agentservice_operator.engine.queue import Priority
from agentservice_operator.status.problems import Problem

FOUND_EVERY_SECONDS = 80.0
"""Those of others are not watched: what was there is looked up this often, so that a loss shows within 120 s."""
MISSING_EVERY_SECONDS = 5.0
"""What is missing is asked for this often, so that Ready follows its creation within seconds."""
BELIEVED_FOR = 0.25
"""Part of these times for which further reconciles do not ask: the next regular look may be a whole time after them."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """The outcome of looking everything up."""

    values: dict[tuple[str, str], str]
    """By (ConfigMap name, key); the empty string where it is missing."""
    trust_bundles: dict[tuple[str, str], str]
    """Digests by (ConfigMap name, key); the empty string where it is missing or unusable."""
    problems: tuple[Problem, ...]
    any: bool
    """Whether the spec refers to anything."""
    look_again_after: float | None
    """Seconds until something that is not watched should be looked up again."""

    @property
    def digest(self) -> str | None:
        """Identifies the values, None where there are none."""
        return short_hash(sorted([*key, value] for key, value in self.values.items())) if self.values else None


@dataclass(frozen=True, slots=True)
class _Unwatched:
    """A Secret or a ServiceAccount as it was when somebody looked."""

    looked_up: float
    exists: bool
    keys: frozenset[str] | None
    """Of a Secret's data; None where the API server does not tell."""

    def has(self, key: str | None) -> bool:
        return self.exists and (key is None or self.keys is None or key in self.keys)


class _Use(Enum):
    """What the value of a ConfigMap's key is for, and so what of it is kept."""

    TEXT = 1
    TRUST_BUNDLE = 2


@dataclass(frozen=True, slots=True)
class _Value:
    kept: str
    """A text as far as anybody may use it, and one character more to tell that it is too long; a bundle's digest."""
    flaw: str | None = None
    """Why pods could not start with it."""


@dataclass(frozen=True, slots=True)
class _ConfigMap:
    resource_version: int
    values: dict[tuple[str, _Use], _Value | None] | None
    """Of the keys that somebody asked for; None for a key that is not there. None where there is none of that name."""


class References:
    """Looks referenced objects up, and wakes the AgentServices that a changed ConfigMap concerns.

    It is the ``ports.Sink`` of a watch that carries every ConfigMap's metadata; values are read when they are needed.
    """

    def __init__(
        self,
        kubernetes: Kubernetes,
        wake: Callable[[ServiceKey, Priority], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kubernetes = kubernetes
        self._wake = wake
        self._clock = clock
        self._unwatched: dict[tuple[Kind, Name], _Unwatched] = {}
        self._config_maps: dict[Name, _ConfigMap] = {}
        self._events: Counter[Name] = Counter()
        """Events seen of ConfigMaps that are in use: one that comes during a read makes its answer doubtful."""
        self._users: defaultdict[Name, set[ServiceKey]] = defaultdict(set)
        self._uses: dict[ServiceKey, frozenset[Name]] = {}

    async def resolve(self, service: AgentService) -> Resolved:
        """Look up everything that a spec refers to.

        Raises:
            KubernetesError: The API server could not be asked.
        """
        namespace = service.metadata.namespace
        wanted = references(service)
        used = {(namespace, name) for name, _ in (*wanted.config_maps, *wanted.secrets, *wanted.api_keys)}
        if wanted.trust_bundle is not None:
            used.add((namespace, wanted.trust_bundle[0]))
        if wanted.service_account is not None:
            used.add((namespace, wanted.service_account))
        self._note_use(ServiceKey(namespace, service.metadata.name), frozenset(used))
        problems: list[Problem] = []
        values: dict[tuple[str, str], str] = {}
        for (name, key), purpose in wanted.config_maps.items():
            text = await self._value((namespace, name), key, _Use.TEXT, purpose, problems)
            if len(text) > MAX_PROMPT_CHARACTERS:
                problems.append(_too_long(name, key, purpose))
            values[name, key] = text
        trust_bundles: dict[tuple[str, str], str] = {}
        if wanted.trust_bundle is not None:
            name, key = wanted.trust_bundle
            trust_bundles[name, key] = await self._value(
                (namespace, name), key, _Use.TRUST_BUNDLE, "the trust bundle of the pods", problems
            )
        seen = len(problems)
        for (secret, part), purpose in (*wanted.secrets.items(), *wanted.api_keys.items()):
            found = await self._look_up(SECRET, (namespace, secret), part)
            if not found.has(part):
                problems.append(_missing("Secret", secret, part if found.exists else None, purpose))
        if wanted.service_account is not None:
            account = await self._look_up(SERVICE_ACCOUNT, (namespace, wanted.service_account))
            if not account.exists:
                problems.append(_missing("ServiceAccount", wanted.service_account, None, "the pods, which run as it"))
        unwatched = bool(wanted.secrets or wanted.api_keys or wanted.service_account)
        watched = bool(wanted.config_maps or wanted.trust_bundle)
        again = FOUND_EVERY_SECONDS if len(problems) == seen else MISSING_EVERY_SECONDS
        return Resolved(values, trust_bundles, tuple(problems), unwatched or watched, again if unwatched else None)

    def forget(self, key: ServiceKey) -> None:
        """The AgentService is gone."""
        self._note_use(key, frozenset())

    def end_list(self, names: set[Name], resource_version: str, namespace: str | None) -> None:
        """All of a list of the ConfigMaps' metadata was put."""
        for name, known in list(self._config_maps.items()):
            here = namespace is None or name[0] == namespace
            if (
                here
                and name not in names
                and known.values is not None
                and known.resource_version <= int(resource_version)
            ):
                self._changed(name)

    def put(self, item: Object) -> None:
        """A ConfigMap was added or modified."""
        self._count(_name(item))
        known = self._config_maps.get(_name(item))
        if known is not None and int(item["metadata"]["resourceVersion"]) > known.resource_version:
            self._changed(_name(item))

    put_listed = put

    def remove(self, item: Object) -> None:
        """A ConfigMap was deleted."""
        self._count(_name(item))
        known = self._config_maps.get(_name(item))
        if known is not None and known.values is not None:
            self._changed(_name(item))

    def _count(self, name: Name) -> None:
        if name in self._users:
            self._events[name] += 1

    def _changed(self, name: Name) -> None:
        self._config_maps.pop(name, None)
        for key in self._users.get(name, ()):
            self._wake(key, Priority.CHANGE)

    def _note_use(self, key: ServiceKey, names: frozenset[Name]) -> None:
        for name in self._uses.pop(key, frozenset()) - names:
            self._users[name].discard(key)
            if not self._users[name]:
                del self._users[name]
                self._config_maps.pop(name, None)
                self._events.pop(name, None)
                for kind in (SECRET, SERVICE_ACCOUNT):
                    self._unwatched.pop((kind, name), None)
        if names:
            self._uses[key] = names
        for name in names:
            self._users[name].add(key)

    async def _value(self, name: Name, key: str, use: _Use, purpose: str, problems: list[Problem]) -> str:
        """What is kept of a ConfigMap's key, or a problem and the empty string."""
        found = await self._config_map(name, key, use)
        value = found[key, use] if found is not None else None
        if value is None:
            problems.append(_missing("ConfigMap", name[1], key if found is not None else None, purpose))
        elif value.flaw is not None:
            problems.append(_unusable(name[1], key, value.flaw, purpose))
        return value.kept if value is not None else ""

    async def _config_map(self, name: Name, key: str, use: _Use) -> dict[tuple[str, _Use], _Value | None] | None:
        known = self._config_maps.get(name)
        if known is None or (known.values is not None and (key, use) not in known.values):
            # A ConfigMap may hold a megabyte that nobody uses.
            asked = {(key, use), *((known.values or ()) if known else ())}
            before = self._events[name]
            item = await self._kubernetes.get(CONFIG_MAP, *name)
            if item is None:
                known = _ConfigMap(0, None)
            else:
                data = item.get("data") or {}
                version = int(item["metadata"]["resourceVersion"])
                known = _ConfigMap(
                    version, {(each, for_what): _kept(data.get(each), for_what) for each, for_what in asked}
                )
            self._config_maps[name] = known
            if self._events[name] != before:
                self._changed(name)
        return known.values

    async def _look_up(self, kind: Kind, name: Name, key: str | None = None) -> _Unwatched:
        known = self._unwatched.get((kind, name))
        if known is not None:
            age = self._clock() - known.looked_up
            if age < (FOUND_EVERY_SECONDS if known.has(key) else MISSING_EVERY_SECONDS) * BELIEVED_FOR:
                return known
        item = await self._kubernetes.get_metadata(kind, *name)
        found = _Unwatched(self._clock(), item is not None, _data_keys(item) if item else None)
        self._unwatched[kind, name] = found
        return found


def _data_keys(item: Object) -> frozenset[str] | None:
    """The keys of a Secret, read off its field managers: no value travels. None where nobody is recorded for them."""
    entries = item["metadata"].get("managedFields") or ()
    data = [(entry.get("fieldsV1") or {}).get(part) for entry in entries for part in ("f:data", "f:stringData")]
    keys = frozenset(field[2:] for fields in data if fields for field in fields if field.startswith("f:"))
    return keys or None


def _missing(kind: str, name: str, key: str | None, purpose: str) -> Problem:
    what = f"{kind} {name} has no key {key}" if key is not None else f"{kind} {name} does not exist"
    return Problem(Reason.REFERENCE_NOT_FOUND, f"{what}; it is needed for {purpose}. Create it in the same namespace.")


def _too_long(name: str, key: str, purpose: str) -> Problem:
    what = (
        f"ConfigMap {name} has more than {MAX_PROMPT_CHARACTERS} characters under {key}, which is needed for {purpose}"
    )
    return Problem(Reason.INVALID_SPEC, f"{what}. Shorten it.", terminal=True)


def _unusable(name: str, key: str, flaw: str, purpose: str) -> Problem:
    what = f"ConfigMap {name}: what stands under {key} {flaw}; it is needed for {purpose}"
    return Problem(Reason.INVALID_SPEC, f"{what}. Put certificates in PEM there, and nothing else.", terminal=True)


def _kept(value: str | None, use: _Use) -> _Value | None:
    if value is None:
        return None
    if use is _Use.TEXT:
        return _Value(value[: MAX_PROMPT_CHARACTERS + 1])
    try:
        return _Value(trust_bundle_digest(value))
    except UnusableTrustBundle as error:
        return _Value("", str(error))


def _name(item: Object) -> Name:
    return item["metadata"]["namespace"], item["metadata"]["name"]
