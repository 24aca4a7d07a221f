"""What only the Events of pods tell is in the status soon, in our own words, and gone once the pod is well."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from agent_runtime.ending import Ending
from dev.kwok_stages import PREFIX
from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, Object, condition, conditions
from tests.controlplane.operator_process import OperatorProcess

SHOWN_WITHIN = 15.0
"""Seconds from the Event on."""
MOUNT = 'MountVolume.SetUp failed for volume "tmp" : mkdir /var/lib/kubelet/pods/1: no space left on device'
UNHEALTHY = "Readiness probe failed: HTTP probe failed with statuscode: 503"


def pods_that(**asks: str) -> Object:
    """A part of the spec whose pods do what kwok is asked for."""
    return {"podAnnotations": {f"{PREFIX}/{key.replace('_', '-')}": value for key, value in asks.items()}}


def wait_pod(services: AgentServices, shows: str) -> Object:
    """The only pod, once it shows that."""
    return wait_until(
        lambda: next((pod for pod in services.pods() if shows in str(pod["status"])), None),
        deadline=DEADLINE,
        describe=services.describe,
    )


def tell(services: AgentServices, pod: Object, reason: str, message: str) -> None:
    """Write an Event as a kubelet does."""
    moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = pod["metadata"]
    services.cluster.api.create(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{secrets.token_hex(8)}", "namespace": services.namespace},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "namespace": services.namespace,
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "type": "Warning",
            "reason": reason,
            "message": message,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "source": {"component": "kubelet", "host": "node"},
        }
    )


def mend(services: AgentServices) -> None:
    """Let the pods be as they should: nobody edits the AgentService."""
    for pod in services.pods():
        path = services.path("Pod", pod["metadata"]["name"])
        services.cluster.api.patch(path, {"metadata": {"annotations": {f"{PREFIX}/pod": None}}})


def message(service: Object) -> str:
    return str((condition(service, "Ready") or {}).get("message"))


@dataclass(frozen=True)
class Told:
    """A state of a pod that says nothing, the Event that does, and what the status must say."""

    pod: str
    reason: str
    note: str
    means: str
    says: str


MISSING = 'MountVolume.SetUp failed for volume "credentials-x" : secret "x" not found'
TOLD = {
    "volume": Told("ContainerCreating", "FailedMount", MOUNT, "MountFailed", "cannot mount its volume tmp."),
    "secret": Told("ContainerCreating", "FailedMount", MISSING, "ReferenceNotFound", "Secret x does not exist."),
    "probe": Told("NotReady", "Unhealthy", UNHEALTHY, "ProbeFailed", "its readiness probe fails (status 503)."),
}


@pytest.mark.parametrize("told", TOLD.values(), ids=TOLD)
def test_what_only_events_tell_is_named_until_it_is_mended(
    operator: OperatorProcess, services: AgentServices, told: Told
) -> None:
    services.apply(runtime=pods_that(pod=told.pod))
    pod = wait_pod(services, "ContainersNotReady")
    tell(services, pod, told.reason, told.note)

    troubled = services.wait_not_ready(told.means, deadline=SHOWN_WITHIN)
    assert told.says in message(troubled)
    assert conditions(troubled)["Reconciling"] == ("True", told.means)
    mend(services)

    assert set(conditions(services.wait_ready())) == {"Ready"}
    assert operator.child.exit_code is None


def test_pods_that_are_well_are_never_asked_about(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply(replicas=3)
    services.wait_ready()
    operator.settle()

    reads = [request for request in operator.requests() if request.resource == "events" and request.verb == "list"]

    assert reads == []


def test_why_the_runtime_could_not_serve_is_told(operator: OperatorProcess, services: AgentServices) -> None:
    word = f"agentservice: {Ending.CREDENTIALS_UNUSABLE}"
    services.apply(runtime=pods_that(pod="CrashLoopBackOff", exit_code="2", last_message=word))

    crashing = services.wait_not_ready("CrashLooping", deadline=SHOWN_WITHIN)

    assert "exit code 2 (a Secret with a model's credentials holds no API key; put it in)" in message(crashing)
    assert operator.child.exit_code is None


def test_sec_6_a_secret_is_shown_nowhere_whoever_prints_it(operator: OperatorProcess, services: AgentServices) -> None:
    canary = secrets.token_urlsafe(24)
    assert len(canary) == 32
    reference = {"name": "provider", "key": "api-key"}
    services.make_secret("provider", **{"api-key": canary})
    model = {"model": "claude-fake", "credentials": {"secretKeyRef": reference}}
    printed = f"RuntimeError: refused key {canary}"
    crashing = pods_that(pod="CrashLoopBackOff", exit_code="1", last_message=printed, message=printed)
    env = [{"name": "PROVIDER_KEY", "valueFrom": {"secretKeyRef": reference}}]
    services.apply(
        models=[{"name": "main", "provider": "Anthropic", "anthropic": model}], runtime={**crashing, "env": env}
    )
    services.wait_not_ready("CrashLooping")
    services.apply(
        models=[{"name": "main", "provider": "Anthropic", "anthropic": model}],
        runtime={**pods_that(pod="NotReady"), "env": env},
    )
    tell(services, wait_pod(services, "'running'"), "Unhealthy", f"Readiness probe failed: {printed}")
    services.wait_not_ready("ProbeFailed")
    key = base64.b64decode(services.child("Secret")["data"]["default"]).decode()

    shown = everything_shown(operator, services)

    for secret in (canary, key):
        assert {place for place, text in shown.items() if secret in text} == set()


def everything_shown(operator: OperatorProcess, services: AgentServices) -> dict[str, str]:
    """All that the operator writes, by place; what pods and tests wrote themselves is left out."""
    path = f"/apis/events.k8s.io/v1/namespaces/{services.namespace}/events"
    told: list[Any] = services.cluster.api.list(path, fieldSelector="regarding.kind=AgentService")
    assert told
    status = services.get()["status"]
    annotations = services.get()["metadata"].get("annotations")
    children = [item for item in services.children() if item["kind"] != "Secret"]
    # The pods' make-believe prints what the pod template's annotations ask for: those hold it on purpose.
    for item in children:
        if item["kind"] == "Deployment":
            item["spec"]["template"]["metadata"]["annotations"] = {}
            item["metadata"]["managedFields"] = []
    return {
        "status": str(status),
        "annotations": str(annotations),
        "events": str(told),
        "children": str(children),
        "log": operator.child.log.read_text(),
        "metrics": operator.metrics_text(),
    }
