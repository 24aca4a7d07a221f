"""What happens while no operator runs is done in one step when it is back."""

from __future__ import annotations

from collections import Counter

from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices
from tests.controlplane.operator_process import OperatorProcess, said


def test_siv_7_after_an_absence_only_the_last_spec_is_applied(
    own_operator: OperatorProcess, own_services: AgentServices
) -> None:
    before = own_operator.audit.mark()
    operator, services = own_operator.start(), own_services
    services.apply()
    services.wait_ready()
    operator.settle()
    first_lists = lists(operator, before)
    first = {item["metadata"]["name"] for item in services.children() if item["kind"] == "ConfigMap"}

    operator.stop()
    for prompt in ("One.", "Two."):
        services.apply(agents=[{"name": "assistant", "systemPrompt": prompt}])
    services.apply(agents=[{"name": "assistant", "systemPrompt": "Three."}], replicas=2)
    services.cluster.api.delete(services.path("Service"))
    before = operator.audit.mark()
    operator.start()

    services.wait_ready()
    wait_until(
        lambda: services.cluster.api.find(services.path("Service")), deadline=DEADLINE, describe=services.describe
    )
    operator.settle()
    assert lists(operator, before) == first_lists
    writes = [write for write in operator.writes(since=before) if write.subresource != "status"]
    assert sorted(write.resource for write in writes) == ["configmaps", "deployments", "services"], said(writes)
    maps = {item["metadata"]["name"]: item for item in services.children() if item["kind"] == "ConfigMap"}
    [new] = maps.keys() - first
    assert "Three." in maps[new]["data"]["config.json"]
    assert len(services.replica_sets()) == 2


def lists(operator: OperatorProcess, since: int) -> Counter[str]:
    """How often each watched kind was listed."""
    return Counter(request.resource for request in operator.requests(since=since) if request.verb == "list")
