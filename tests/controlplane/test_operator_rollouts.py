"""What the agents say or run on rolls their pods exactly once; nothing else rolls them; other people's edits stay."""

from __future__ import annotations

from typing import Any

from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import DEADLINE, AgentServices, Object, identity, is_ready, spec_of
from tests.controlplane.operator_process import OperatorProcess, said

ROLLING: dict[str, dict[str, Any]] = {
    "prompt": {"agents": [{"name": "assistant", "systemPrompt": "Another."}]},
    "agent": {"agents": [{"name": "helper", "systemPrompt": "You are a helpful assistant."}]},
    "model": {"models": [{"name": "other", "provider": "Echo"}]},
    "tokens": {"models": [{"name": "main", "provider": "Echo", "maxTokens": 1000}]},
    "timeout": {"requestTimeoutSeconds": 30},
    "image": {"runtime": {"image": "example.invalid/pinned:1"}},
    "resources": {"runtime": {"resources": {"requests": {"cpu": "200m"}}}},
    "variable": {"runtime": {"env": [{"name": "A", "value": "1"}]}},
    "log level": {"observability": {"logLevel": "Debug"}},
    "pod label": {"runtime": {"podLabels": {"example.com/a": "1"}}},
}
STILL: dict[str, dict[str, Any]] = {
    "nothing": {},
    "count": {"replicas": 2},
    "autoscaling": {"autoscaling": {"minReplicas": 1, "maxReplicas": 3}},
    "port": {"exposure": {"service": {"port": 8000}}},
    "annotation": {"inheritedMetadata": {"annotations": {"example.com/a": "1"}}},
    "history": {"runtime": {"revisionHistoryLimit": 5}},
    "deadline": {"runtime": {"rollout": {"progressDeadlineSeconds": 200}}},
    "default that is said": {"requestTimeoutSeconds": 120, "defaultModel": "main", "defaultAgent": "assistant"},
}


def rollouts(services: AgentServices) -> int:
    """How many revisions the Deployment has had."""
    return max(int(s["metadata"]["annotations"]["deployment.kubernetes.io/revision"]) for s in services.replica_sets())


def wait_rolled_out(services: AgentServices) -> Object:
    """Wait until the newest generation serves, on pods of the newest revision only."""

    def rolled_out(service: Object) -> bool:
        status = service["status"]
        return is_ready(service) and status["currentRevision"] == status["updateRevision"]

    return services.wait(rolled_out)


def test_each_change_of_what_runs_is_one_rollout(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply()
    wait_rolled_out(services)
    revisions = {services.get()["status"]["currentRevision"]}

    for number, (what, change) in enumerate(ROLLING.items(), start=2):
        before = operator.audit.mark()
        services.apply(**change)
        status = wait_rolled_out(services)["status"]

        operator.first_write(lambda write: write.resource == "deployments", since=before)
        writes = operator.writes(since=before)
        assert rollouts(services) == number, what
        assert len([write for write in writes if write.resource == "deployments"]) == 1, (what, said(writes))
        assert status["currentRevision"] not in revisions, what
        revisions.add(status["currentRevision"])


def test_no_other_change_is_a_rollout(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply()
    revision = wait_rolled_out(services)["status"]["currentRevision"]

    for what, change in STILL.items():
        services.apply(**change)
        assert wait_rolled_out(services)["status"]["currentRevision"] == revision, what
        assert rollouts(services) == 1, what
    assert operator.child.exit_code is None


def test_the_way_back_leads_to_the_same_children(operator: OperatorProcess, services: AgentServices) -> None:
    services.apply(**ROLLING["prompt"])
    first = wait_rolled_out(services)["status"]["currentRevision"]
    children = {identity(child): spec_of(child) for child in services.children()}
    replica_set = services.replica_sets()[0]["metadata"]["uid"]

    services.apply(**ROLLING["model"], autoscaling={"minReplicas": 1, "maxReplicas": 3})
    assert wait_rolled_out(services)["status"]["currentRevision"] != first
    services.apply(**ROLLING["prompt"])
    assert wait_rolled_out(services)["status"]["currentRevision"] == first

    operator.settle()
    after = {identity(child): spec_of(child) for child in services.children()}
    assert {name: after.get(name) for name in children} == children
    assert {name.split("/")[0] for name in after.keys() - children.keys()} == {"ConfigMap"}  # the history
    serving = [s["metadata"]["uid"] for s in services.replica_sets() if s["spec"]["replicas"]]
    assert serving == [replica_set]


def test_a_change_in_a_referenced_config_map_is_one_rollout(operator: OperatorProcess, services: AgentServices) -> None:
    services.make_config_map("prompts", main="First.", other="Unused.")
    prompt = {"configMapKeyRef": {"name": "prompts", "key": "main"}}
    services.apply(agents=[{"name": "assistant", "systemPromptFrom": prompt}])
    first = wait_rolled_out(services)["status"]["currentRevision"]

    services.make_config_map("prompts", main="Second.", other="Unused.")
    services.wait(lambda service: service["status"]["currentRevision"] != first)
    second = wait_rolled_out(services)["status"]["currentRevision"]
    services.make_config_map("prompts", main="Second.", other="Changed.")
    operator.settle()

    assert services.get()["status"]["currentRevision"] == second
    assert rollouts(services) == 2


def test_a_new_value_in_a_secret_is_no_rollout(operator: OperatorProcess, services: AgentServices) -> None:
    """Mounted keys reach running pods; what is in their environment is left to ``kubectl rollout restart``."""
    services.make_secret("provider", key="first")
    key = {"secretKeyRef": {"name": "provider", "key": "key"}}
    models = [{"name": "main", "provider": "Anthropic", "anthropic": {"model": "claude-x", "credentials": key}}]
    services.apply(models=models, runtime={"env": [{"name": "PROVIDER_VALUE", "valueFrom": key}]})
    wait_rolled_out(services)
    operator.settle()
    before = operator.audit.mark()

    services.make_secret("provider", key="second")
    services.patch({"metadata": {"labels": {"example.com/look": "now"}}})
    services.patch({"spec": {"exposure": {"service": {"port": 8000}}}})
    operator.first_write(lambda write: write.resource == "services", since=before)  # a reconcile that came after it
    operator.settle()

    assert [write for write in said(operator.writes(since=before)) if "deployments" in write] == []
    assert rollouts(services) == 1


def test_edits_that_overtake_each_other_end_on_the_first_pods(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()
    first = wait_rolled_out(services)["status"]["currentRevision"]
    [replica_set] = services.replica_sets()

    for _ in range(3):
        services.apply(**ROLLING["prompt"])
        services.apply()
    operator.settle()

    assert wait_rolled_out(services)["status"]["currentRevision"] == first
    assert [s["metadata"]["uid"] for s in serving(services)] == [replica_set["metadata"]["uid"]]
    assert len(services.replica_sets()) <= 2


def test_act_4_a_rollout_that_is_stuck_keeps_the_old_pods_and_leaves_nothing_once_mended(
    operator: OperatorProcess, services: AgentServices
) -> None:
    services.apply()
    first = wait_rolled_out(services)["status"]
    [pod] = services.pods()

    services.apply(runtime={"image": "missing.invalid/runtime:1"})
    services.wait_not_ready("ImagePullFailed")
    assert pod["metadata"]["name"] in {each["metadata"]["name"] for each in services.pods()}

    services.apply(runtime={"image": "example.invalid/runtime:2"})
    second = wait_rolled_out(services)["status"]
    services.apply()
    mended = wait_rolled_out(services)["status"]
    operator.settle()

    assert len({status["currentRevision"] for status in (first, second)}) == 2
    assert mended["currentRevision"] == first["currentRevision"]
    assert [entry["type"] for entry in services.get()["status"]["conditions"]] == ["Ready"]
    assert len(serving(services)) == 1
    wait_until(lambda: len(services.pods()) == 1, deadline=DEADLINE, describe=services.describe)


def serving(services: AgentServices) -> list[Object]:
    """The ReplicaSets that are to have pods."""
    return [item for item in services.replica_sets() if item["spec"]["replicas"]]


def test_other_peoples_edits_stay(cluster: Cluster, operator: OperatorProcess, services: AgentServices) -> None:
    services.apply()
    wait_rolled_out(services)
    operator.settle()
    before = operator.audit.mark()

    cluster.kubectl("-n", services.namespace, "annotate", "deployment/hello", "example.com/note=kept")
    cluster.kubectl("-n", services.namespace, "rollout", "restart", "deployment/hello")
    cluster.api.apply(injected(services), manager="injector")
    services.wait(lambda service: is_ready(service) and len(serving_containers(services)) == 2)
    operator.settle()
    assert [write for write in said(operator.writes(since=before)) if "agentservices" not in write] == []

    services.apply(**ROLLING["prompt"])
    wait_rolled_out(services)

    deployment = services.child("Deployment")
    template = deployment["spec"]["template"]
    assert deployment["metadata"]["annotations"]["example.com/note"] == "kept"
    assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
    assert sorted(c["name"] for c in template["spec"]["containers"]) == ["runtime", "sidecar"]


def injected(services: AgentServices) -> Object:
    """What a tool that injects a sidecar applies."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "hello", "namespace": services.namespace},
        "spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "example.invalid/sidecar:1"}]}}},
    }


def serving_containers(services: AgentServices) -> list[Object]:
    containers: list[Object] = services.child("Deployment")["spec"]["template"]["spec"]["containers"]
    return containers


def test_a_field_of_ours_is_taken_back(cluster: Cluster, operator: OperatorProcess, services: AgentServices) -> None:
    services.apply()
    wait_rolled_out(services)
    wanted = spec_of(services.child("Deployment"))
    body = injected(services)
    body["spec"]["template"]["spec"]["containers"] = [{"name": "runtime", "image": "other.invalid/x:1"}]

    cluster.api.apply(body, manager="intruder", force=True)

    wait_until(
        lambda: spec_of(services.child("Deployment")) == wanted,
        deadline=DEADLINE,
        describe=lambda: services.child("Deployment")["spec"],
    )
    wait_rolled_out(services)
    assert operator.child.exit_code is None
