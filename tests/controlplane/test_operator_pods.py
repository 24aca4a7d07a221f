"""Who the pods are, and whom they trust."""

from __future__ import annotations

from typing import Any

from tests.authority import authority_pem
from tests.controlplane.agent_services import AgentServices, condition, is_ready
from tests.controlplane.operator_process import OperatorProcess, said


def test_pods_run_as_the_service_account_that_is_named_and_get_no_token(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply(runtime={"serviceAccount": {"name": "cloud"}})
    waiting = services.wait_not_ready("ReferenceNotFound")
    assert "ServiceAccount cloud does not exist" in str(condition(waiting, "Ready"))
    assert services.pods() == []

    services.make_service_account("cloud")

    services.wait_ready()
    (pod,) = services.pods()
    assert (pod["spec"]["serviceAccountName"], pod["spec"]["automountServiceAccountToken"]) == ("cloud", False)
    assert "ServiceAccount" not in {item["kind"] for item in services.children()}
    assert operator.writes()


def test_a_service_account_that_goes_while_it_is_needed_is_named(services: AgentServices) -> None:
    services.make_service_account("cloud")
    services.apply(runtime={"serviceAccount": {"name": "cloud"}})
    services.wait_ready()

    services.cluster.api.delete(services.path("ServiceAccount", "cloud"))
    services.patch({"spec": {"requestTimeoutSeconds": 30}})

    told = services.wait_not_ready("ReferenceNotFound")
    assert "ServiceAccount cloud does not exist" in str(condition(told, "Ready"))


def test_its_own_service_account_outlives_the_pods_that_run_as_it(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()
    services.wait_ready()
    services.make_service_account("cloud")
    before = operator.audit.mark()

    services.apply(runtime={"serviceAccount": {"name": "cloud"}})
    services.wait(lambda _: not [item for item in services.children() if item["kind"] == "ServiceAccount"])

    operator.first_write(lambda write: (write.verb, write.resource) == ("delete", "serviceaccounts"), since=before)
    writes = [
        write for write in said(operator.writes(since=before)) if "serviceaccounts" in write or "deployments" in write
    ]
    assert writes == ["patch deployments hello 200", "delete serviceaccounts hello 200"]
    assert {
        pod["spec"]["serviceAccountName"] for pod in services.pods() if "deletionTimestamp" not in pod["metadata"]
    } == {"cloud"}

    services.apply()
    services.wait_ready()
    assert services.child("ServiceAccount")["automountServiceAccountToken"] is False


TRUSTING: dict[str, Any] = {"runtime": {"trustBundle": {"configMapKeyRef": {"name": "corp", "key": "ca.crt"}}}}


def test_a_trust_bundle_is_waited_for_and_its_change_is_one_rollout(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply(**TRUSTING)
    waiting = services.wait_not_ready("ReferenceNotFound")
    assert "ConfigMap corp does not exist" in str(condition(waiting, "Ready"))

    services.make_config_map("corp", **{"ca.crt": authority_pem()})
    first = services.wait_ready()["status"]["currentRevision"]
    before = operator.audit.mark()
    services.make_config_map("corp", **{"ca.crt": authority_pem()})

    services.wait(lambda service: is_ready(service) and service["status"]["currentRevision"] != first)
    operator.first_write(lambda write: write.resource == "deployments", since=before)
    assert [w.verb for w in operator.writes(since=before) if w.resource == "deployments"] == ["patch"]
    assert len(services.replica_sets()) == 2


def test_a_broken_trust_bundle_reaches_no_pod(services: AgentServices) -> None:
    services.make_config_map("corp", **{"ca.crt": authority_pem()})
    services.apply(**TRUSTING)
    services.wait_ready()

    services.make_config_map("corp", **{"ca.crt": "-----BEGIN CERTIFICATE-----"})

    told = services.wait_not_ready("InvalidSpec")
    assert "ConfigMap corp: what stands under ca.crt has no certificates" in str(condition(told, "Ready"))
    assert len(services.replica_sets()) == 1
    services.make_config_map("corp", **{"ca.crt": authority_pem()})
    services.wait_ready()
