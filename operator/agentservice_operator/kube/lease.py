"""Leader election on a coordination.k8s.io Lease, with the times and rules of client-go.

Clocks of different machines are never compared: a lease is free when *this* process has seen it unchanged for its whole
duration, and it is ours only as long after the start of a confirmed renewal as nobody else can have found it free.

Source: https://pkg.go.dev/k8s.io/client-go/tools/leaderelection
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from agentservice_operator.engine.kinds import Kind
from agentservice_operator.engine.ports import AlreadyExists, Conflict, KubernetesError, NotLeader, Object
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.errors import NotFound
from agentservice_operator.kube.transport import Request

LEASE = Kind("Lease", "coordination.k8s.io", "v1", "leases")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds: how long a silent holder is left alone, how long the holder trusts itself, how often both look."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    def __post_init__(self) -> None:
        """Refuse times with which two processes could both lead."""
        if not self.duration > self.renew_deadline > 2 * self.retry_period > 0:
            raise ValueError(f"{self}: needs duration > renew_deadline > 2 * retry_period > 0")

    @property
    def request_timeout(self) -> float:
        """Half of the deadline, so that one lost answer does not cost the lease."""
        return self.renew_deadline / 2


class LeaderElector:
    """Competes for one Lease.

    Args:
        client: its transport is used, past the limit on concurrent requests and past ``before_write``.
        namespace: of the Lease.
        name: of the Lease; it is made if there is none.
        identity: of this process, never used by another one: a pod's name and a random part, since a pod outlives its
            containers.
        times: see ``LeaseTimes``.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        client: KubeClient,
        namespace: str,
        name: str,
        identity: str,
        *,
        times: LeaseTimes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.identity = identity
        self._transport = client.transport
        self._namespace = namespace
        self._name = name
        self._times = times or LeaseTimes()
        self._clock = clock
        self._renewed: float | None = None
        """When the last confirmed renewal was sent; None while another leads."""
        self._lease: Object | None = None
        self._unchanged_since = clock()

    @property
    def is_leader(self) -> bool:
        """Whether the lease is surely ours at this moment."""
        return self._trusted_for() > 0

    def check(self) -> None:
        """Return if the lease is surely ours.

        Raises:
            NotLeader: it is not, or not surely: nothing may be written.
        """
        if not self.is_leader:
            raise NotLeader(f"{self.identity} does not hold Lease {self._namespace}/{self._name}")

    async def run(self, on_started: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Compete, lead until the lease is lost, return. When cancelled, release the lease.

        Args:
            on_started: called once when the lease is ours.
            on_lost: called when it no longer is; the process should end, as what it has in flight can't be recalled.
        """
        try:
            await self._acquire()
            _log.info("%s leads", self.identity)
            on_started()
            await self._keep()
        except asyncio.CancelledError:
            await self._release()
            raise
        self._renewed = None
        on_lost()

    async def _acquire(self) -> None:
        while not await self._attempt():
            wait = self._times.retry_period * random.uniform(1.0, 1.2)  # noqa: S311 - no secret
            free_in = self._unchanged_since + self._held_for() - self._clock()
            await asyncio.sleep(min(wait, max(free_in, 0.1)))

    async def _keep(self) -> None:
        """Renew every retry period; return when the lease is lost."""
        while (trusted_for := self._trusted_for()) > 0:
            try:
                async with asyncio.timeout(trusted_for):
                    await asyncio.sleep(self._times.retry_period)
                    renewed = await self._attempt()
            except TimeoutError:
                break
            if not renewed and self._holder() not in {"", self.identity}:
                _log.error("Lease %s/%s went to %s", self._namespace, self._name, self._holder())
                return
        _log.error("Lease %s/%s was not renewed for %s s", self._namespace, self._name, self._times.renew_deadline)

    async def _attempt(self) -> bool:
        """Try once to get or renew the lease; say whether that was confirmed."""
        sent = self._clock()
        try:
            if self._renewed is None or self._lease is None:
                self._observe(await self._read())
            if self._lease is None:
                self._lease = await self._write("POST", self._claim(None))
            elif self._may_claim():
                self._lease = await self._write("PUT", self._claim(self._lease))
            else:
                return False
        except (AlreadyExists, Conflict, NotFound):  # somebody was faster: look again
            return await self._look_again()
        except KubernetesError as error:
            _log.warning("Lease %s/%s: %s", self._namespace, self._name, error)
            return False
        self._renewed = sent
        self._unchanged_since = sent
        return True

    async def _look_again(self) -> bool:
        """Find out who holds the lease after a write met another one's; never a confirmation."""
        try:
            self._observe(await self._read())
        except KubernetesError as error:
            _log.warning("Lease %s/%s: %s", self._namespace, self._name, error)
        return False

    def _trusted_for(self) -> float:
        """Seconds for which the lease is surely ours; counted from before the renewal was sent."""
        return 0.0 if self._renewed is None else self._renewed + self._times.renew_deadline - self._clock()

    def _observe(self, lease: Object | None) -> None:
        if lease is None or self._lease is None or lease["spec"] != self._lease["spec"]:
            self._unchanged_since = self._clock()
        self._lease = lease

    def _may_claim(self) -> bool:
        return self._holder() in {"", self.identity} or self._clock() >= self._unchanged_since + self._held_for()

    def _holder(self) -> str:
        return (self._lease or {}).get("spec", {}).get("holderIdentity") or ""

    def _held_for(self) -> float:
        """How long the holder may stay silent, in its own words; an unheld lease is free at once."""
        if self._lease is None or not self._holder():
            return 0.0
        return float(self._lease["spec"].get("leaseDurationSeconds") or self._times.duration)

    def _claim(self, seen: Object | None) -> Object:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        spec = dict(seen["spec"]) if seen else {}
        if spec.get("holderIdentity") != self.identity:
            spec["acquireTime"] = now
            spec["leaseTransitions"] = (spec.get("leaseTransitions") or 0) + 1 if seen else 0
        spec |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._times.duration)),
            "renewTime": now,
        }
        return self._body(spec, seen)

    async def _release(self) -> None:
        """Give the lease back, so that another need not wait; a failure costs only that wait."""
        self._renewed = None
        try:
            lease = await self._read()  # a claim or renewal may have been cancelled after it reached the server
            if lease is not None and lease["spec"].get("holderIdentity") == self.identity:
                await self._write("PUT", self._body({**lease["spec"], "holderIdentity": ""}, lease))
        except KubernetesError as error:
            _log.warning("Lease %s/%s was not released: %s", self._namespace, self._name, error)

    def _body(self, spec: Object, seen: Object | None) -> Object:
        metadata: Object = {"namespace": self._namespace, "name": self._name}
        if seen:
            metadata["resourceVersion"] = seen["metadata"]["resourceVersion"]
        return {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}

    async def _read(self) -> Object | None:
        try:
            return await self._send("get", "GET", self._name)
        except NotFound:
            return None

    async def _write(self, method: str, body: Object) -> Object:
        if method == "POST":
            return await self._send("create", method, None, body)
        return await self._send("update", method, self._name, body)

    async def _send(self, verb: str, method: str, name: str | None, body: Object | None = None) -> Object:
        request = Request(
            verb,
            LEASE.kind,
            method,
            LEASE.path(self._namespace, name),
            name=f"{self._namespace}/{self._name}",
            body=body,
        )
        answer: Object = orjson.loads(
            await self._transport.send(request, within=self._times.request_timeout, queued=False)
        )
        return answer
