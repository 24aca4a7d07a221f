"""The HTTP endpoint that serves the metrics and the probes.

It runs on a thread and an event loop of its own, so that liveness can judge the main loop by its heartbeat.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from agentservice_operator.metrics import Metrics

log = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 1.0
LIVENESS_LIMIT_SECONDS = 30.0
"""A main loop that did not turn for so long is not coming back."""


@dataclass
class Health:
    """What the probes look at; written by the main loop, read by the other thread."""

    clock: Callable[[], float] = time.monotonic
    _beat: float = field(init=False)
    _synced: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        self._beat = self.clock()

    async def heartbeat(self) -> None:
        """Beat for ever, on the loop that is to be judged."""
        while True:
            self._beat = self.clock()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def ready_when(self, synced: Callable[[], bool]) -> None:
        """Readiness = caches synced, not leadership: a standby is ready (a rolling update would wait for ever)."""
        self._synced = synced

    @property
    def live(self) -> bool:
        """Whether the main loop still turns."""
        return self.clock() - self._beat < LIVENESS_LIMIT_SECONDS

    @property
    def ready(self) -> bool:
        """Whether the main loop turns and every cache has been filled once."""
        return self.live and self._synced is not None and self._synced()


class TelemetryServer:
    """/metrics, /healthz and /readyz on a thread of their own."""

    def __init__(self, metrics: Metrics, health: Health, *, host: str, port: int) -> None:
        self._metrics = metrics
        self._health = health
        self._host = host
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._bound = threading.Event()
        self._failure: OSError | None = None

    def start(self) -> None:
        """Serve from now on.

        Raises:
            OSError: The port cannot be bound.
        """
        self._thread.start()
        self._bound.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Stop serving and wait until the thread has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._bound.set()  # whatever happened, nobody waits for the start any more
            self._loop.close()

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/metrics", self._metrics_page)
        app.router.add_get("/healthz", self._probe(lambda: self._health.live))
        app.router.add_get("/readyz", self._probe(lambda: self._health.ready))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            self._failure = error
            self._bound.set()
            await runner.cleanup()
            return
        self._bound.set()
        await self._stop.wait()
        await runner.cleanup()

    async def _metrics_page(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @staticmethod
    def _probe(passes: Callable[[], bool]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(_: web.Request) -> web.Response:
            return web.Response(text="ok\n") if passes() else web.Response(text="not ok\n", status=503)

        return handle
