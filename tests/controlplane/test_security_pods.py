"""SEC-6, SEC-12: pods where only restricted ones are admitted, and keys that nobody is shown."""

from __future__ import annotations

import base64
import secrets

import pytest

from dev.api_client import ApiError
from tests.authority import authority_pem
from tests.controlplane.agent_services import EVERY_CHILD, AgentServices, Object
from tests.controlplane.operator_process import OperatorProcess
from tests.controlplane.test_operator_pod_events import (
    UNHEALTHY,
    everything_shown,
    pods_that,
    tell,
    wait_pod,
)
from tests.controlplane.test_operator_workers import make_secrets, wanting

VIOLATIONS = b"pod-security.kubernetes.io/audit-violations"
"""The annotation of a request in the audit log that a level would warn of."""
VOLUME: Object = {"state": {"backend": "Volume", "volume": {"size": "1Gi"}}}


def test_sec_12_nothing_that_the_operator_makes_is_warned_of_where_pods_are_restricted(
    operator: OperatorProcess, services: AgentServices
) -> None:
    modes = ("enforce", "audit", "warn")
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in modes}
    services.cluster.api.patch(f"/api/v1/namespaces/{services.namespace}", {"metadata": {"labels": labels}})
    audit = operator.audit
    privileged = {"name": "a", "image": "a", "securityContext": {"privileged": True}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": services.namespace}}
    with pytest.raises(ApiError, match='violates PodSecurity "restricted'):
        services.cluster.api.create({**pod, "spec": {"containers": [privileged]}})
    before = audit.mark()

    make_secrets(services)
    services.apply(**EVERY_CHILD, **wanting(2))
    services.apply("stored", **VOLUME)
    services.wait_ready()
    services.wait(lambda _: services.pods("stored"), "stored")
    operator.settle()

    with audit.path.open("rb") as log:
        assert VIOLATIONS in log.read(before)
        told = [line for line in log if services.namespace.encode() in line and VIOLATIONS in line]
    assert told == []


def test_sec_6_no_key_is_shown_on_its_way_into_and_out_of_use(
    operator: OperatorProcess, services: AgentServices
) -> None:
    unwell = pods_that(pod="NotReady")  # so that there is something to tell
    services.apply(runtime=unwell)
    tell(services, wait_pod(services, "'running'"), "Unhealthy", UNHEALTHY)
    services.wait_not_ready("ProbeFailed")
    keys = set(keys_of(services))
    services.apply(runtime=unwell, access={"apiKeys": {"rotation": 2}})
    services.wait(lambda _: len(keys_of(services)) == len(("default", "default.previous")))
    operator.settle()
    keys |= set(keys_of(services))
    assert len(keys) == len(("the first", "the second"))

    shown = everything_shown(operator, services)

    for key in keys:
        forms = (key, base64.b64encode(key.encode()).decode())
        assert {place for place, text in shown.items() if any(form in text for form in forms)} == set()


def test_sec_6_nothing_of_what_a_spec_names_is_shown(operator: OperatorProcess, services: AgentServices) -> None:
    canaries = {name: secrets.token_urlsafe(24) for name in ("pull", "tls", "provider", "setting", "callers")}
    for name, canary in canaries.items():
        services.make_secret(name, content=canary)
    authority = authority_pem()
    services.make_config_map("authority", content=authority)
    canaries["authority"] = authority.splitlines()[1]  # of its first certificate
    credentials = {"secretKeyRef": {"name": "provider", "key": "content"}}
    anthropic = {"model": "claude-fake", "credentials": credentials}
    unwell = pods_that(pod="NotReady")  # so that there is something to tell
    services.apply(
        models=[{"name": "main", "provider": "Anthropic", "anthropic": anthropic}],
        runtime={
            **unwell,
            "imagePullSecrets": [{"name": "pull"}],
            "trustBundle": {"configMapKeyRef": {"name": "authority", "key": "content"}},
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "setting", "key": "content"}}}],
        },
        access={"apiKeys": {"source": "Secret", "secretRef": {"name": "callers"}}, "clients": [{"name": "content"}]},
        exposure={"ingress": {"hosts": ["agents.example.com"], "tls": {"secretName": "tls"}}},
    )
    tell(services, wait_pod(services, "'running'"), "Unhealthy", UNHEALTHY)
    services.wait_not_ready("ProbeFailed")
    operator.settle()

    shown = everything_shown(operator, services)

    assert all(any(name in text for text in shown.values()) for name in canaries)  # the names may be told
    for canary in canaries.values():
        forms = (canary, base64.b64encode(canary.encode()).decode())
        assert {place for place, text in shown.items() if any(form in text for form in forms)} == set()


def keys_of(services: AgentServices) -> list[str]:
    """The keys that callers may use now."""
    return [base64.b64decode(value).decode() for value in services.child("Secret")["data"].values()]
