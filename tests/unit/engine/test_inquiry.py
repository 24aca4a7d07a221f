"""Asking pods: whom, how often, and what of their answers is believed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import pytest
from agentservice_operator.engine.cache import Caches
from agentservice_operator.engine.inquiry import PODS_AT_MOST, Inquiry, NoAnswerError
from agentservice_operator.engine.kinds import CHILDREN, DEPLOYMENT, SECRET
from agentservice_operator.metrics import Metrics
from agentservice_operator.pod_client import LIMIT_BYTES, PodClient
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.unit.engine.objects import HELLO, NAMESPACE, Woken, agent_service

REVISION = "0123456789"
FAILING = {"name": "main", "health": "failing", "code": "upstream_unauthorized", "age_seconds": 1.5}


def answer(*models: object, revision: str = REVISION) -> bytes:
    return orjson.dumps({"revision": revision, "models": models, "phase": "serving"})


@dataclass
class Pods:
    """Pods that answer as told."""

    answers: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    first: asyncio.Event = field(default_factory=asyncio.Event)

    async def report(self, address: str) -> bytes:
        self.asked.append(address)
        self.first.set()
        if address not in self.answers:
            raise NoAnswerError("TimeoutError")
        return self.answers[address]


class Bench:
    """An inquiry about hello, whose pods are ready at the addresses given."""

    def __init__(
        self, *addresses: str, revision: str = REVISION, ready: bool = True, component: str = "server"
    ) -> None:
        self.woken = Woken()
        self.pods = Pods()
        self.metrics = Metrics()
        caches = Caches([kind for kind in CHILDREN if kind is not SECRET], Woken())
        caches.services.put(agent_service())
        template = {"metadata": {"annotations": {"agentservice.dev/revision": REVISION}}}
        labels = {"agentservice.dev/service": HELLO.name, "app.kubernetes.io/component": component}
        meta = {"namespace": NAMESPACE, "resourceVersion": "1", "creationTimestamp": "", "labels": labels}
        deployment = {"metadata": {**meta, "name": HELLO.name, "uid": "d"}, "spec": {"template": template}}
        caches.children[DEPLOYMENT].put(deployment)
        for number, address in enumerate(addresses):
            conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
            caches.pods.put(
                {
                    "metadata": {
                        **meta,
                        "name": f"hello-{number}",
                        "annotations": {"agentservice.dev/revision": revision},
                    },
                    "status": {"podIP": address, "conditions": conditions},
                }
            )
        service = caches.services.get(NAMESPACE, HELLO.name)
        assert service is not None
        self.caches, self.service = caches, service
        self.inquiry = Inquiry(caches, self.pods, self.woken, self.metrics, round_seconds=60)

    async def ask(self) -> None:
        await self.inquiry.ask(self.service)

    def outcomes(self, outcome: str) -> float:
        value = self.metrics.registry.get_sample_value("agentservice_operator_inquiries_total", {"outcome": outcome})
        return value or 0.0


async def test_a_report_that_says_something_new_wakes_its_agent_service_once() -> None:
    bench = Bench("192.0.2.1")
    bench.pods.answers["192.0.2.1"] = answer(FAILING)

    await bench.ask()
    bench.pods.answers["192.0.2.1"] = answer({**FAILING, "age_seconds": 61.5})
    await bench.ask()

    assert bench.woken.keys() == [HELLO]
    report = bench.inquiry.latest(HELLO)
    assert report is not None
    assert report.models[0].code == "upstream_unauthorized"


async def test_no_answer_leaves_the_last_report_and_counts() -> None:
    bench = Bench("192.0.2.1")
    bench.pods.answers["192.0.2.1"] = answer(FAILING)
    await bench.ask()
    bench.pods.answers.clear()

    await bench.ask()

    assert bench.inquiry.latest(HELLO) is not None
    assert bench.outcomes("no_answer") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        answer({"name": "x" * 64, "health": "healthy"}),
        answer({"name": "main", "health": "splendid"}),
        answer({**FAILING, "code": "x" * 65}),
        answer(*[FAILING] * 65),
        orjson.dumps({"revision": "x" * 64}),
    ],
)
async def test_what_is_no_report_is_not_believed(body: bytes) -> None:
    bench = Bench("192.0.2.1")
    bench.pods.answers["192.0.2.1"] = body

    await bench.ask()

    assert bench.inquiry.latest(HELLO) is None
    assert bench.outcomes("not_understood") == 1


async def test_of_many_pods_a_few_are_asked() -> None:
    bench = Bench(*(f"192.0.2.{number}" for number in range(1, 20)))

    await bench.ask()

    assert len(set(bench.pods.asked)) == PODS_AT_MOST


@pytest.mark.parametrize(
    "bench",
    [
        Bench("192.0.2.1", ready=False),
        Bench("192.0.2.1", revision="old"),
        Bench("192.0.2.1", component="worker"),
        Bench(""),
    ],
)
async def test_only_ready_servers_of_the_newest_revision_are_asked(bench: Bench) -> None:
    await bench.ask()

    assert bench.pods.asked == []


async def test_a_standby_asks_nobody_and_a_leader_all() -> None:
    bench, leads = Bench("192.0.2.1"), asyncio.Event()
    running = asyncio.create_task(bench.inquiry.run(leads))
    for _ in range(10):
        await asyncio.sleep(0)
    asked_before = list(bench.pods.asked)

    leads.set()
    async with asyncio.timeout(5):
        await bench.pods.first.wait()
    running.cancel()

    assert asked_before == []
    assert bench.pods.asked == ["192.0.2.1"]


@asynccontextmanager
async def pod(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[PodClient]:
    """A client of a pod on loopback."""
    application = web.Application()
    application.router.add_get("/{path:.*}", handle)
    server = TestServer(application, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    try:
        async with PodClient(server.port or 0) as client:
            yield client
    finally:
        await server.close()


async def test_the_body_of_a_pod_arrives_whole() -> None:
    body = b"x" * LIMIT_BYTES

    async def handle(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body)

    async with pod(handle) as client:
        assert await client.report("127.0.0.1") == body


@pytest.mark.parametrize(
    "response",
    [
        lambda: web.Response(body=b"x" * (LIMIT_BYTES + 1)),
        lambda: web.Response(status=503),
        lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
    ],
)
async def test_a_pod_that_answers_in_another_way_has_given_no_answer(response: Callable[[], web.Response]) -> None:
    paths = []

    async def handle(request: web.Request) -> web.StreamResponse:
        paths.append(request.path)
        return response()

    async with pod(handle) as client:
        with pytest.raises(NoAnswerError):
            await client.report("127.0.0.1")

    assert paths == ["/statusz"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "not an address/../", ""])
async def test_a_pod_that_is_not_there_gives_no_answer(address: str) -> None:
    async with PodClient(port=1) as client:
        with pytest.raises(NoAnswerError):
            await client.report(address)
