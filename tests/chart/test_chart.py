"""What the chart renders for the values that users set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from agentservice_operator.api.markers import wire
from agentservice_operator.builders.defaults import AgentDefaults
from agentservice_operator.settings import Settings, read_defaults

from tests.chart.conftest import CHART, OLDEST_KUBERNETES, Helm, Object, Render, render_text

DIGEST = "sha256:" + "0" * 64


def one(objects: list[Object], kind: str) -> Object:
    """The only object of a kind."""
    (found,) = (item for item in objects if item["kind"] == kind)
    return found


def kinds(objects: list[Object]) -> set[str]:
    return {item["kind"] for item in objects}


def container(objects: list[Object]) -> Object:
    (found,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(found)


def environment(objects: list[Object]) -> dict[str, Any]:
    return {variable["name"]: variable.get("value") for variable in container(objects)["env"]}


def test_helm_lint_is_content(helm: Helm) -> None:
    done = helm("lint", "--strict", str(CHART), f"--kube-version={OLDEST_KUBERNETES}")

    assert done.returncode == 0, done.stdout + done.stderr


def test_two_renders_are_identical(helm: Helm) -> None:
    values = {"watchNamespaces": ["b", "a"], "podMonitor": {"enabled": True}, "podLabels": {"z": "1", "a": "2"}}

    assert render_text(helm, values) == render_text(helm, values)


def test_the_default_install_has_every_part(render: Render) -> None:
    assert kinds(render()) == {
        "CustomResourceDefinition",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Deployment",
        "ConfigMap",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }


def test_the_definition_is_the_generated_one_and_is_kept(render: Render) -> None:
    generated = yaml.safe_load((CHART.parent.parent / "crds" / "agentservice.dev_agentservices.yaml").read_text())

    definition = one(render(), "CustomResourceDefinition")

    assert definition["spec"] == generated["spec"]
    assert definition["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_the_definition_can_be_left_out_or_given_up(render: Render) -> None:
    assert "CustomResourceDefinition" not in kinds(render({"crds": {"install": False}}))
    assert "annotations" not in one(render({"crds": {"keep": False}}), "CustomResourceDefinition")["metadata"]


def test_the_operator_reads_every_variable_that_the_chart_sets(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "watchNamespaces": ["team-b", "team-a"],
        "logLevel": "debug",
        "runtime": {"image": {"digest": DIGEST}},
        "maxConcurrentUpgrades": 3,
    }
    monkeypatch.setattr("agentservice_operator.settings.read_defaults", lambda _: AgentDefaults())
    for name, value in environment(render(values)).items():
        monkeypatch.setenv(name, value if value is not None else f"from-{name}".lower().replace("_", "-"))

    settings = Settings()

    assert settings.runtime_image == f"ghcr.io/agentservice/runtime@{DIGEST}"
    assert settings.max_concurrent_upgrades == "3"
    assert settings.watch_namespaces == ("team-a", "team-b")
    assert settings.log_level == "debug"
    assert settings.lease_name == "agents-agentservice-operator"
    assert (settings.identity, settings.namespace) == ("from-pod-name", "from-pod-namespace")
    port, path = settings.telemetry_port, container(render(values))["livenessProbe"]["httpGet"]["path"]
    assert container(render(values))["ports"] == [{"name": "metrics", "containerPort": port}]
    assert path == "/healthz"


DEFAULTS: Object = {
    "gatewayNamespaces": ["ingress"],
    "monitoringNamespaces": ["monitoring"],
    "monitorLabels": {"release": "prometheus"},
    "resources": {"requests": {"cpu": "250m", "memory": 536870912}, "limits": {"memory": "1Gi"}},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"pool": "agents"},
    "tolerations": [{"key": "pool", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3600}],
    "priorityClassName": "agents",
    "volumeGroup": "Namespace",
    "proxy": {"https": "http://proxy.example.com:3128", "noProxy": ["example.com"]},
}


def defaults_file(objects: list[Object], path: Path) -> Path:
    """The file that the operator's pod would see."""
    file = container(objects)["volumeMounts"][0]["mountPath"] + "/defaults.yaml"
    assert environment(objects)["AGENTSERVICE_DEFAULTS_FILE"] == file
    path.write_text(one(objects, "ConfigMap")["data"]["defaults.yaml"])
    return path


def test_the_operator_understands_every_default_that_the_values_set(render: Render, tmp_path: Path) -> None:
    values: Object = yaml.safe_load((CHART / "values.yaml").read_text())["agentDefaults"]
    assert set(values) == set(DEFAULTS)

    defaults = read_defaults(defaults_file(render({"agentDefaults": DEFAULTS}), tmp_path / "set.yaml"))

    assert {field for field in DEFAULTS if wire(defaults, field)} == set(DEFAULTS)
    assert len(AgentDefaults.model_fields) == len(DEFAULTS)
    assert read_defaults(defaults_file(render(), tmp_path / "unset.yaml")) == AgentDefaults()


def test_changed_defaults_restart_the_operator(render: Render) -> None:
    def template(values: Object) -> Object:
        return dict(one(render(values), "Deployment")["spec"]["template"])

    assert template({}) == template({"agentDefaults": {"nodeSelector": {}}})
    assert template({}) != template({"agentDefaults": {"nodeSelector": {"pool": "agents"}}})


def test_an_image_is_named_by_tag_or_by_digest(render: Render) -> None:
    assert container(render())["image"] == "ghcr.io/agentservice/operator:0.1.0"
    assert container(render({"image": {"tag": "dev"}}))["image"] == "ghcr.io/agentservice/operator:dev"
    digest = {"image": {"repository": "example.com/operator", "tag": "dev", "digest": DIGEST}}
    assert container(render(digest))["image"] == f"example.com/operator@{DIGEST}"


def test_the_operator_meets_the_restricted_pod_security_standard(render: Render) -> None:
    spec = one(render(), "Deployment")["spec"]["template"]["spec"]

    assert spec["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container(render())["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_sec_11_only_the_operators_pods_hold_its_token_and_it_is_bound_to_them(render: Render) -> None:
    objects = render()
    account = one(objects, "ServiceAccount")["metadata"]["name"]
    pods = [item["spec"]["template"]["spec"] for item in objects if "template" in item.get("spec", {})]

    assert one(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    # What the kubelet mounts is projected, expires, and ends with its pod; a Secret with a token would do none of it.
    assert [(pod["serviceAccountName"], pod["automountServiceAccountToken"]) for pod in pods] == [(account, True)]
    assert "Secret" not in kinds(objects)


@pytest.mark.parametrize(("replicas", "rendered"), [(1, False), (2, True)])
def test_a_disruption_budget_needs_more_than_one_replica(render: Render, replicas: int, *, rendered: bool) -> None:
    assert ("PodDisruptionBudget" in kinds(render({"replicas": replicas}))) is rendered


def test_scheduling_given_by_the_user_replaces_the_default_spread(render: Render) -> None:
    constraint = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}

    spec = one(render({"topologySpreadConstraints": [constraint]}), "Deployment")["spec"]["template"]["spec"]

    assert spec["topologySpreadConstraints"] == [constraint]


def test_sec_15_a_strict_network_lets_the_operator_reach_only_dns_the_api_server_and_agents(render: Render) -> None:
    policy = one(render({"networkPolicy": {"apiServerPorts": [6443]}}), "NetworkPolicy")["spec"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    anywhere, agents = policy["egress"]
    assert [port["port"] for port in anywhere["ports"]] == [53, 53, 6443]
    assert [port["port"] for port in agents["ports"]] == [9090]
    (peer,) = agents["to"]
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/managed-by": "agentservice-operator"}
    assert one(render(), "NetworkPolicy")["spec"]["policyTypes"] == ["Ingress"]


def test_a_pod_monitor_scrapes_the_metrics_port(render: Render) -> None:
    monitor = one(render({"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}), "PodMonitor")

    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "metrics", "interval": "30s"}]


def test_names_stay_within_63_characters_and_apart(render: Render) -> None:
    objects = render(release="r" * 53)

    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert all(len(name) <= 63 for kind, name in names if kind != "CustomResourceDefinition")
    assert len(set(names)) == len(names)


def test_common_labels_are_on_every_object_and_further_objects_are_templates(render: Render) -> None:
    text = "{apiVersion: v1, kind: ConfigMap, metadata: {name: '{{ .Release.Name }}-extra'}}"
    plain = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plain"}}

    objects = render({"commonLabels": {"team": "platform"}, "extraObjects": [text, plain]})

    assert "agents-extra" in {item["metadata"]["name"] for item in objects if item["kind"] == "ConfigMap"}
    assert one(objects, "Secret") == plain
    own = [item for item in objects if item["metadata"]["name"] not in {"agents-extra", "plain"}]
    assert all(item["metadata"]["labels"]["team"] == "platform" for item in own)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"replcas": 2}, "replcas"),
        ({"image": {"registry": "example.com"}}, "registry"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"logLevel": "verbose"}, "logLevel"),
        ({"maxConcurrentUpgrades": 0}, "maxConcurrentUpgrades"),
        ({"maxConcurrentUpgrades": "0%"}, "maxConcurrentUpgrades"),
        ({"watchNamespaces": "team-a"}, "watchNamespaces"),
        ({"networkPolicy": {"apiServerPorts": [0]}}, "apiServerPorts"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name"),
        ({"agentDefaults": {"toleration": []}}, "toleration"),
        ({"agentDefaults": {"proxy": {"https": "http://me:secret@proxy"}}}, "proxy"),
        ({"agentDefaults": {"proxy": {"noProxy": ["example.com"]}}}, "proxy"),
    ],
)
def test_a_wrong_value_is_refused_by_name(helm: Helm, values: Object, complaint: str) -> None:
    done = helm("template", "agents", str(CHART), f"--kube-version={OLDEST_KUBERNETES}", values=values)

    assert done.returncode != 0
    assert complaint in done.stderr


def test_every_value_is_described_in_the_readme() -> None:
    values: Object = yaml.safe_load((CHART / "values.yaml").read_text())
    readme = (CHART / "README.md").read_text()

    assert [name for name in values if f"`{name}`" not in readme and f"`{name}." not in readme] == []


def test_a_chart_of_an_older_kubernetes_is_refused(helm: Helm) -> None:
    done = helm("template", "agents", str(CHART), "--kube-version=1.31.0")

    assert done.returncode != 0
    assert "kubeVersion" in done.stderr


def test_versions_agree_with_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    pyproject = (Path(CHART).parent.parent / "pyproject.toml").read_text()

    assert f'version = "{chart["appVersion"]}"' in pyproject
    assert Settings.model_fields["runtime_image"].default.endswith(f":{chart['appVersion']}")
