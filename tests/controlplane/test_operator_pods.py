"""Who the pods are."""

from __future__ import annotations

from tests.controlplane.agent_services import AgentServices, condition
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
