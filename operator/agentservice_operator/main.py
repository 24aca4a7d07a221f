"""The operator process: puts the parts together, runs them, and ends when one of them cannot go on."""

from __future__ import annotations

import asyncio
import gc
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby

import structlog
import uvloop
from kubernetes.aio.client import ApiClient
from kubernetes.aio.config import ConfigException
from pydantic import ValidationError

from agentservice_operator.api.v1alpha1.conditions import UPGRADE_REASONS
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.labels import MANAGED_SELECTOR
from agentservice_operator.engine.api_keys import ApiKeys
from agentservice_operator.engine.cache import Caches
from agentservice_operator.engine.children import Children
from agentservice_operator.engine.controller import Controller
from agentservice_operator.engine.inquiry import Inquiry
from agentservice_operator.engine.kinds import AGENT_SERVICE, CHILDREN, CONFIG_MAP, OPTIONAL, POD, SECRET, ServiceKey
from agentservice_operator.engine.pod_events import PodEvents
from agentservice_operator.engine.ports import Forbidden, KubernetesError, NotLeader
from agentservice_operator.engine.queue import Priority, WorkQueue
from agentservice_operator.engine.reconcile import Reconciler
from agentservice_operator.engine.references import References
from agentservice_operator.engine.report import Reporter
from agentservice_operator.engine.upgrades import Limit, Upgrades
from agentservice_operator.kopf_app import Handlers, serve
from agentservice_operator.kube.client import KubeClient
from agentservice_operator.kube.discovery import available
from agentservice_operator.kube.events import EventRecorder
from agentservice_operator.kube.lease import LeaderElector
from agentservice_operator.kube.reflector import Reflector
from agentservice_operator.kube.transport import connect
from agentservice_operator.logs import configure_logging
from agentservice_operator.metrics import Metrics
from agentservice_operator.pod_client import PodClient
from agentservice_operator.settings import Settings
from agentservice_operator.status.compute import reason_of
from agentservice_operator.status.upgrades import pending_reason
from agentservice_operator.telemetry import Health, TelemetryServer

log = structlog.get_logger(__name__)

USER_AGENT = "agentservice-operator"
GAUGES_EVERY_SECONDS = 15.0
DEFINITION_EVERY_SECONDS = 2.0
LEFT_OUT_EVERY_SECONDS = 15.0


class Operator:
    """Everything between kopf's start and its end."""

    def __init__(
        self, settings: Settings, namespaces: Sequence[str], api_client: ApiClient, metrics: Metrics, health: Health
    ) -> None:
        self._metrics = metrics
        self._health = health
        self._queue: WorkQueue[ServiceKey] = WorkQueue(metrics.queue)
        self._leads = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self.stopping = asyncio.Event()

        self._client = client = KubeClient(api_client, before_write=self._check, on_request=metrics.requested)
        # A pod outlives its containers: a restarted one must not take its predecessor's lease for its own.
        identity = f"{settings.identity}_{secrets.token_hex(4)}"
        self._elector = LeaderElector(client, settings.namespace, settings.lease_name, identity)
        scope = namespaces or None
        watched = [kind for kind in CHILDREN if kind is not SECRET]
        self._caches = Caches(watched, self._wake)
        references = References(client, self._wake)
        self._reflectors = [
            # kopf emits no deletion for what vanished while it did not watch: this list does.
            Reflector(client, AGENT_SERVICE, scope, self._caches.services, watch=False),
            *(
                Reflector(
                    client,
                    kind,
                    scope,
                    self._caches.children[kind],
                    label_selector=MANAGED_SELECTOR,
                    on_served=partial(self._caches.set_served, kind) if kind in OPTIONAL else None,
                )
                for kind in watched
            ),
            Reflector(client, POD, scope, self._caches.pods, label_selector=MANAGED_SELECTOR),
            Reflector(client, CONFIG_MAP, scope, references, metadata_only=True),
        ]
        for kind, same in groupby(sorted(self._reflectors, key=_kind), key=_kind):
            metrics.watch_reflector(kind, partial(_silence, list(same)))
        self._recorder = EventRecorder(client, metrics, instance=identity)
        children = Children(client, self._caches, metrics, self._recorder)
        self._pods = PodClient()
        self._inquiry = Inquiry(self._caches, self._pods, self._wake, metrics, round_seconds=settings.inquiry_seconds)
        reconciler = Reconciler(
            caches=self._caches,
            children=children,
            api_keys=ApiKeys(client, self._recorder, metrics),
            references=references,
            pod_events=PodEvents(client),
            reporter=Reporter(client, self._caches),
            recorder=self._recorder,
            reports=self._inquiry.latest,
            upgrades=Upgrades(self._caches, Limit(settings.max_concurrent_upgrades), self._wake),
            defaults=BuildContext(
                runtime_image=settings.runtime_image,
                operator_namespace=settings.namespace,
                defaults=settings.agent_defaults,
            ),
        )
        self._controller = Controller(self._queue, reconciler, self._leads, metrics, workers=settings.workers)

    @property
    def failed(self) -> bool:
        """Whether the process ends because it cannot go on, not because it was told to."""
        return self._work is not None and self._work.done() and not self._work.cancelled()

    def handlers(self) -> Handlers:
        """What kopf calls."""
        services = self._caches.services
        return Handlers(
            start=self._start,
            stop=self._stop,
            listed=services.put_listed,
            changed=services.put,
            deleted=services.remove,
        )

    async def _start(self) -> None:
        self._health.ready_when(lambda: all(reflector.synced.is_set() for reflector in self._reflectors))
        self._work = asyncio.create_task(self._run(), name="operator")
        self._work.add_done_callback(self._ended)

    async def _stop(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    def _ended(self, work: asyncio.Task[None]) -> None:
        if not work.cancelled() and work.exception() is not None:
            log.error("a part of the operator failed; the process ends", exc_info=work.exception())
        self.stopping.set()

    async def _run(self) -> None:
        async with self._pods, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._count(), name="gauges")
            tasks.create_task(self._recorder.run(), name="events")
            tasks.create_task(self._inquiry.run(self._leads), name="inquiry")
            for reflector in self._reflectors:
                tasks.create_task(reflector.run(), name=f"reflector {reflector.kind.plural}")
            tasks.create_task(self._lead(), name="leader election")

    async def _lead(self) -> None:
        """Work while the lease is ours; it is released only after the last worker has stopped."""
        for reflector in self._reflectors:
            await reflector.synced.wait()
        workers = asyncio.create_task(self._controller.run(), name="workers")
        election = asyncio.create_task(self._elector.run(self._started, self._lost), name="lease")
        try:
            await asyncio.wait((workers, election), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._metrics.leader.set(0)
            for task in (workers, election):
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for task in (workers, election):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        raise NotLeader("the lease was lost: what is in flight cannot be recalled, so the process ends")

    def _check(self) -> None:
        self._elector.check()

    def _started(self) -> None:
        self._metrics.leader.set(1)
        self._leads.set()

    def _lost(self) -> None:
        self._leads.clear()

    async def _count(self) -> None:
        while True:
            self._metrics.count_services(Counter(reason_of(service.status) for service in self._caches.services))
            pending = Counter(pending_reason(service.status) for service in self._caches.services)
            self._metrics.count_upgrades({str(reason): pending[reason] for reason in UPGRADE_REASONS})
            await asyncio.sleep(GAUGES_EVERY_SECONDS)

    def _wake(self, key: ServiceKey, priority: Priority) -> None:
        if key.name:
            self._queue.add(key, priority)


def _kind(reflector: Reflector) -> str:
    return reflector.kind.kind


def _silence(reflectors: list[Reflector]) -> float:
    """Seconds since the one that was heard of longest ago was heard of."""
    return time.monotonic() - min(reflector.last_seen for reflector in reflectors)


async def run(settings: Settings) -> bool:
    """Run until told to end; False where the process ends because it cannot go on.

    Raises:
        ConfigException: There is no usable configuration of a cluster.
    """
    metrics, health = Metrics(), Health()
    telemetry = TelemetryServer(metrics, health, host=settings.telemetry_host, port=settings.telemetry_port)
    try:
        telemetry.start()
    except OSError as error:
        advice = (
            "metrics and probes cannot be served: change AGENTSERVICE_TELEMETRY_HOST or AGENTSERVICE_TELEMETRY_PORT"
        )
        log.error(advice, error=str(error))  # noqa: TRY400 - the trace says nothing
        return False
    heartbeat = asyncio.create_task(health.heartbeat(), name="heartbeat")
    api_client = await connect(user_agent=USER_AGENT)
    try:
        reader = KubeClient(api_client, on_request=metrics.requested)
        preparation = asyncio.create_task(_prepare(reader, settings.watch_namespaces), name="preparation")
        # As the first process of a container we are not ended by a signal that nobody handles; later kopf does.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, preparation.cancel)
        try:
            namespaces = await preparation
        except asyncio.CancelledError:
            return True
        operator = Operator(settings, namespaces, api_client, metrics, health)
        left_out = frozenset(settings.watch_namespaces) - frozenset(namespaces)
        retry = asyncio.create_task(_end_when_readable(reader, left_out, operator.stopping), name="left out")
        try:
            await serve(operator.handlers(), namespaces=namespaces, stop=operator.stopping)
        except Exception:  # whatever ended the watch of AgentServices: a new process starts afresh
            log.exception("kopf ended; the process ends")
            return False
        finally:
            retry.cancel()
        return not operator.failed
    finally:
        await api_client.close()  # type: ignore[no-untyped-call]  # not typed
        heartbeat.cancel()
        telemetry.stop()


async def _prepare(client: KubeClient, namespaces: Sequence[str]) -> tuple[str, ...]:
    """Wait until there is something to watch; returns the namespaces in which it is allowed."""
    await _wait_for_definition(client)
    return await _readable(client, namespaces)


async def _wait_for_definition(client: KubeClient) -> None:
    """Wait until the API server knows AgentServices: kopf looks for the kind only once."""
    while True:
        try:
            if await available(client, [AGENT_SERVICE]):
                return
            log.warning("the CustomResourceDefinition is not installed; waiting", kind=AGENT_SERVICE.plural)
        except KubernetesError as error:
            log.warning("the API server does not answer; waiting", error=str(error))
        await asyncio.sleep(DEFINITION_EVERY_SECONDS)


async def _readable(client: KubeClient, namespaces: Sequence[str]) -> tuple[str, ...]:
    """Those of the namespaces that may be read, at least one where any is named.

    A namespace that is gone, and its Role with it, must not keep the operator from the others: kopf ends the process
    when a watch is refused for a minute, and the next process comes by here.
    """
    while True:
        found = tuple([namespace for namespace in namespaces if await _may_read(client, namespace)])
        for namespace in sorted(set(namespaces) - set(found)):
            log.error("namespace is left out: no Role lets the operator list AgentServices there", namespace=namespace)
        if found or not namespaces:
            return found
        await asyncio.sleep(LEFT_OUT_EVERY_SECONDS)


async def _end_when_readable(client: KubeClient, namespaces: Iterable[str], stopping: asyncio.Event) -> None:
    """End the process, to be started again, as soon as a namespace that was left out may be read."""
    while waiting := sorted(namespaces):
        await asyncio.sleep(LEFT_OUT_EVERY_SECONDS)
        for namespace in waiting:
            if await _may_read(client, namespace):
                log.warning("namespace may be read now; the process ends to start with it", namespace=namespace)
                stopping.set()
                return


async def _may_read(client: KubeClient, namespace: str) -> bool:
    try:
        await client.get_metadata(AGENT_SERVICE, namespace, "any")  # granted with list and watch, and cheaper
    except Forbidden:
        return False
    except KubernetesError:
        return True  # nothing speaks against it; the watch has retries of its own
    return True


def main() -> None:
    """Run the operator; the exit code is 0 when it was told to end, 1 when it could not go on, 2 for wrong settings."""
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            field = str(problem["loc"][0])
            variable = f"AGENTSERVICE_{field.upper()}" if field.islower() else field  # an alias is the variable itself
            print(f"{variable}: {problem['msg']}", file=sys.stderr)  # noqa: T201 - no log yet
        sys.exit(2)
    configure_logging(settings.log_level)
    # What the imports made stays. Looked through at each full collection, it would make these dear and seldom: to list
    # all that 600 AgentServices have took 1.2 s of CPU instead of 0.8.
    gc.collect()
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            went_well = runner.run(run(settings))
    except ConfigException as error:
        log.error("no cluster: set KUBECONFIG or run in a pod", error=str(error))  # noqa: TRY400 - the trace says nothing
        sys.exit(2)
    sys.exit(0 if went_well else 1)
