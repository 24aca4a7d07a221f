"""Asking the pods how they do: every AgentService once a round, spread over the round."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

import structlog
from pydantic import ValidationError

from agentservice_operator.api.v1alpha1.well_known import SERVER
from agentservice_operator.engine.cache import Caches, Service, Wake
from agentservice_operator.engine.controller import Leadership
from agentservice_operator.engine.kinds import DEPLOYMENT, ServiceKey
from agentservice_operator.engine.queue import Priority
from agentservice_operator.metrics import Metrics
from agentservice_operator.status.observed import DeploymentFacts, PodFacts
from agentservice_operator.status.runtime_report import PodReport, RuntimeReport, combine

log = structlog.get_logger(__name__)

PODS_AT_MOST = 5
"""Of one AgentService in one round: a larger one is judged by a sample."""


class NoAnswerError(Exception):
    """A pod did not answer, or not as a runtime does; nothing follows from that."""


class Pods(Protocol):
    """How a pod is asked."""

    async def report(self, address: str) -> bytes:
        """The body of its ``/statusz``.

        Args:
            address: IP address of the pod.

        Raises:
            NoAnswerError: There was none in time, or none of a kind that can be used.
        """


class Inquiry:
    """Keeps the latest report of every AgentService whose pods answer.

    Args:
        caches: whose pods there are.
        pods: how they are asked.
        wake: told of an AgentService whose pods say something new.
        metrics: counts what was asked.
        round_seconds: in which every AgentService is asked about once.
    """

    def __init__(self, caches: Caches, pods: Pods, wake: Wake, metrics: Metrics, *, round_seconds: float) -> None:
        self._caches = caches
        self._pods = pods
        self._wake = wake
        self._metrics = metrics
        self._round_seconds = round_seconds
        self._reports: dict[ServiceKey, RuntimeReport] = {}

    def latest(self, key: ServiceKey) -> RuntimeReport | None:
        """What the pods of an AgentService said last, None where they never did."""
        return self._reports.get(key)

    async def run(self, leadership: Leadership) -> None:
        """Ask until cancelled, only while this replica leads."""
        while True:
            await leadership.wait()
            services = [service for service in self._caches.services if not service.deleting]
            self._forget_all_but({service.service for service in services})
            random.shuffle(services)
            async with asyncio.TaskGroup() as asking:
                for service in services:
                    asking.create_task(self.ask(service), name=f"inquiry {service.namespace}/{service.name}")
                    await asyncio.sleep(self._round_seconds / len(services))
            if not services:
                await asyncio.sleep(self._round_seconds)

    async def ask(self, service: Service) -> None:
        """Ask the pods of one AgentService; a report that says something new wakes it."""
        deployment = self._caches.children[DEPLOYMENT].get(service.namespace, service.name)
        if deployment is None or not isinstance(deployment.facts, DeploymentFacts):
            return
        revision, key = deployment.facts.revision, service.service
        ready = [pod.facts for pod in self._caches.pods.of(key) if _may_be_asked(pod.facts, revision)]
        asked = random.sample(ready, min(len(ready), PODS_AT_MOST))
        answers = await asyncio.gather(*(self._report(service, pod) for pod in asked))
        report = combine((answer for answer in answers if answer is not None), revision)
        if report is not None and report != self._reports.get(key):
            self._reports[key] = report
            self._wake(key, Priority.CHANGE)

    async def _report(self, service: Service, pod: PodFacts) -> PodReport | None:
        try:
            report = PodReport.model_validate_json(await self._pods.report(pod.address))
        except NoAnswerError as error:
            self._metrics.inquired("no_answer")
            log.debug("a pod does not report", namespace=service.namespace, pod=pod.name, reason=str(error))
            return None
        except ValidationError:  # whose text repeats the answer, which may hold anything
            self._metrics.inquired("not_understood")
            log.debug("the report of a pod cannot be read", namespace=service.namespace, pod=pod.name)
            return None
        self._metrics.inquired("answered")
        return report

    def _forget_all_but(self, keys: set[ServiceKey]) -> None:
        self._reports = {key: report for key, report in self._reports.items() if key in keys}


def _may_be_asked(pod: PodFacts, revision: str) -> bool:
    serves = pod.component == SERVER and pod.ready and not pod.deleting
    return serves and pod.revision == revision and bool(pod.address)
