"""The Secret with the generated API key: made, rotated and kept up without its data ever being read."""

from __future__ import annotations

import re
import secrets
import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

from agent_runtime.config import DEFAULT_CLIENT, PREVIOUS_KEY_SUFFIX
from agentservice_operator.api.v1alpha1.well_known import API_KEY_ROTATION_ANNOTATION
from agentservice_operator.engine.cache import Service, controller_uid
from agentservice_operator.engine.children import Memory, require_ours
from agentservice_operator.engine.kinds import SECRET
from agentservice_operator.engine.live_owner import LiveOwner
from agentservice_operator.engine.ownership import digest
from agentservice_operator.engine.ports import FIELD_MANAGER, Kubernetes, Object, Recorder
from agentservice_operator.metrics import Metrics
from agentservice_operator.status.events import Related, api_key_created, api_key_replaced, api_key_rotated

KEYS_BELIEVED_SECONDS = 20.0
"""The key Secret is not watched. The next regular look may be a whole reconcile period after one that did not ask."""
API_KEY_PREFIX = "asv_"
"""Makes a leaked key recognisable to secret scanners."""


class ApiKeys:
    """The key Secrets of every AgentService, through the API server."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        recorder: Recorder,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kubernetes = kubernetes
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock

    async def ensure(self, owner: Service, intent: Object, memory: Memory, *, live_owner: LiveOwner) -> None:
        """Create the Secret with a fresh key where there is none; else rotate it if asked, and keep up its metadata.

        Raises:
            Blocked: Another object holds the name.
            OwnerGone: The AgentService was deleted meanwhile.
            KubernetesError: The API server refused or could not be reached.
        """
        wanted = digest(intent)
        seen, at = memory.keys_seen or ("", 0.0)
        if seen == wanted and self._clock() - at < KEYS_BELIEVED_SECONDS:
            return
        secret = Related(SECRET.api_version, SECRET.kind, intent["metadata"]["name"])
        live = await self._kubernetes.get_metadata(SECRET, owner.namespace, secret.name)
        if live is None:
            await live_owner.require()
            await self._create(intent)
            tell = api_key_created if memory.keys_seen is None else api_key_replaced
            self._recorder.record(owner.service, owner.uid, tell(secret))
        else:
            require_ours(owner, SECRET, live)
            if _rotation(intent) > _rotation(live):
                live = await self._rotate(intent, live)
                self._recorder.record(owner.service, owner.uid, api_key_rotated(secret))
            await self._mend_metadata(intent, live)
        memory.keys_seen = (wanted, self._clock())

    async def _create(self, intent: Object) -> None:
        await self._kubernetes.create(SECRET, {**intent, "data": {DEFAULT_CLIENT: _new_key()}}, manager=FIELD_MANAGER)
        self._metrics.applied(SECRET.kind, "applied")

    async def _rotate(self, intent: Object, live: Object) -> Object:
        """Put a new key in the place of the one that is there, which the server itself moves aside.

        One request, or nothing: it says which rotation it is in the Secret itself, so no crash and no lost answer makes
        another one of it.
        """
        meta = live["metadata"]
        rotation = {API_KEY_ROTATION_ANNOTATION: str(_rotation(intent))}
        operations = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]},  # or a conflict
            {"op": "add", "path": "/metadata/annotations", "value": (meta.get("annotations") or {}) | rotation},
            {"op": "copy", "from": f"/data/{DEFAULT_CLIENT}", "path": f"/data/{DEFAULT_CLIENT}{PREVIOUS_KEY_SUFFIX}"},
            {"op": "replace", "path": f"/data/{DEFAULT_CLIENT}", "value": _new_key()},
        ]
        answer = await self._kubernetes.patch_json(
            SECRET, meta["namespace"], meta["name"], operations, manager=FIELD_MANAGER
        )
        self._metrics.applied(SECRET.kind, "applied")
        return answer

    async def _mend_metadata(self, intent: Object, live: Object) -> None:
        changes = metadata_patch(intent, live)
        if not changes:
            self._metrics.applied(SECRET.kind, "skipped")
            return
        meta = live["metadata"]
        # The list of owners is replaced as a whole: it must be the one that was read.
        patch = {"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], **changes}}
        await self._kubernetes.patch_metadata(SECRET, meta["namespace"], meta["name"], patch, manager=FIELD_MANAGER)
        self._metrics.applied(SECRET.kind, "applied")


def metadata_patch(intent: Object, live: Object) -> dict[str, Any]:
    """What a merge patch must say so that labels, annotations and owner are as declared; empty where they are."""
    patch: dict[str, Any] = {}
    for part in ("labels", "annotations"):
        wanted = intent["metadata"].get(part) or {}
        present = live["metadata"].get(part) or {}
        changes: dict[str, str | None] = {key: value for key, value in wanted.items() if present.get(key) != value}
        changes |= dict.fromkeys(key for key in _our_keys(live, part) if key in present and key not in wanted)
        if changes:
            patch[part] = changes
    if controller_uid(live) is None:
        others = live["metadata"].get("ownerReferences") or []
        patch["ownerReferences"] = [*others, *intent["metadata"]["ownerReferences"]]
    return patch


def _our_keys(live: Object, part: str) -> set[str]:
    """The labels or annotations that we once set, by whatever kind of write."""
    entries = live["metadata"].get("managedFields") or ()
    mine = [entry["fieldsV1"] for entry in entries if entry.get("manager") == FIELD_MANAGER and "fieldsV1" in entry]
    fields = [entry.get("f:metadata", {}).get(f"f:{part}", {}) for entry in mine]
    return {name.removeprefix("f:") for names in fields for name in names if name.startswith("f:")}


def _rotation(item: Object) -> int:
    """How often the key was rotated, and one; the first key, which has no annotation, is 1."""
    stated = (item["metadata"].get("annotations") or {}).get(API_KEY_ROTATION_ANNOTATION, "")
    return int(stated) if re.fullmatch("[0-9]{1,9}", stated) else 1


def _new_key() -> str:
    return b64encode(f"{API_KEY_PREFIX}{secrets.token_urlsafe(32)}".encode()).decode()
