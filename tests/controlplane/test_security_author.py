"""SEC-1, SEC-2, SEC-4: what a person tries who may write AgentServices in one namespace, and nothing else.

Each attack is refused with a sentence, or leaves no trace in what the operator makes.
"""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest

from dev.api_client import ApiClient, ApiError
from dev.cluster import Cluster
from tests.controlplane.agent_services import AgentServices, Object, agent_service
from tests.controlplane.author import author_of, refusal
from tests.controlplane.operator_process import OperatorProcess, delete_namespace, make_namespace

TIME = "2026-11-21T00:00:00Z"
PODS = "needs the right to create pods or Deployments in namespace"
HOST_PATH = {"name": "root", "hostPath": {"path": "/"}}
TOKEN = {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
PRIVILEGED = {"privileged": True, "runAsUser": 0, "capabilities": {"add": ["SYS_ADMIN"]}}


@pytest.fixture(scope="module")
def home(cluster: Cluster, crd: None) -> Iterator[str]:
    """The namespace in which the author may write AgentServices."""
    del crd
    name = make_namespace(cluster, "author")
    yield name
    delete_namespace(cluster, name)


@pytest.fixture(scope="module")
def author(cluster: Cluster, home: str) -> Iterator[ApiClient]:
    """The API as the author; nothing is kept from one test for the next."""
    with author_of(cluster, home) as api:
        yield api


UNKNOWN: dict[str, Object] = {
    "a volume of the node": {
        "runtime": {"volumes": [HOST_PATH], "volumeMounts": [{"name": "root", "mountPath": "/r"}]}
    },
    "a projected token": {"runtime": {"volumes": [TOKEN], "extraVolumes": [TOKEN]}},
    "the node's network": {"runtime": {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}},
    "the node's processes": {"runtime": {"hostPID": True, "hostIPC": True, "shareProcessNamespace": True}},
    "a port of the node": {"runtime": {"ports": [{"containerPort": 80, "hostPort": 80}]}},
    "a privileged container": {"runtime": {"securityContext": PRIVILEGED, "containerSecurityContext": PRIVILEGED}},
    "a pod of root": {"runtime": {"podSecurityContext": {"runAsUser": 0, "fsGroup": 0, "sysctls": []}}},
    "a ServiceAccount by another name": {"runtime": {"serviceAccountName": "admin"}},
    "a token of the API server": {"runtime": {"automountServiceAccountToken": True}},
    "a mounted token, beside the ServiceAccount": {"runtime": {"serviceAccount": {"automount": True}}},
    "a node by name": {"runtime": {"nodeName": "control-plane"}},
    "another scheduler": {"runtime": {"schedulerName": "mine", "runtimeClassName": "bare"}},
    "a command": {"runtime": {"command": ["sh"], "args": ["-c", "id"], "workingDir": "/"}},
    "further containers": {"runtime": {"initContainers": [{"name": "a"}], "sidecars": [{"name": "b"}]}},
    "a raw pod": {"template": {"spec": {"hostNetwork": True}}, "runtime": {"podTemplate": {"spec": {}}}},
    "a probe of another host": {"runtime": {"livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 80}}}},
    "an alias of a host": {"runtime": {"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["api.anthropic.com"]}]}},
    "an address of the Service": {"exposure": {"service": {"externalIPs": ["10.0.0.1"], "selector": {"app": "a"}}}},
    "another name for the Service": {"exposure": {"service": {"externalName": "example.com", "loadBalancerIP": "1.1"}}},
    "other pods behind the NetworkPolicy": {"networkPolicy": {"podSelector": {}}},
    "alerts of one's own": {"observability": {"prometheusRule": {"groups": [{"name": "a"}]}}},
    "another endpoint to scrape": {"observability": {"podMonitor": {"namespaceSelector": {"any": True}}}},
    "another namespace of an image's Secret": {"runtime": {"imagePullSecrets": [{"name": "a", "namespace": "other"}]}},
    "another namespace of a ConfigMap": {
        "runtime": {"trustBundle": {"configMapKeyRef": {"name": "ca", "key": "ca.crt", "namespace": "other"}}}
    },
    "a finalizer or owner of children": {"inheritedMetadata": {"finalizers": ["a/b"], "ownerReferences": []}},
    "a claim by name": {"state": {"existingClaim": "data", "claimName": "data"}},
}
"""Fields of pods and others that specs of AgentServices do not have."""


@pytest.mark.parametrize("spec", UNKNOWN.values(), ids=UNKNOWN)
def test_sec_1_sec_2_what_no_field_offers_is_refused_and_where_it_is_not_it_is_lost(
    author: ApiClient, home: str, spec: Object
) -> None:
    body = agent_service(home, **spec)

    stored = author.create(body, dryRun="All")
    with pytest.raises(ApiError, match="unknown field"):
        author.create(body, dryRun="All", fieldValidation="Strict")

    assert unknown(body["spec"], stored["spec"])


def unknown(wanted: Any, stored: Any) -> bool:
    """Whether the server kept less than was sent."""
    if isinstance(wanted, dict):
        return any(key not in stored or unknown(value, stored[key]) for key, value in wanted.items())
    if isinstance(wanted, list):
        return any(unknown(one, other) for one, other in zip(wanted, stored, strict=True))
    return False


def credentials(name: str, key: str = "api-key") -> Object:
    model = {"model": "m", "credentials": {"secretKeyRef": {"name": name, "key": key}}}
    return {"models": [{"name": "main", "provider": "Anthropic", "anthropic": model}]}


def prompt(name: str, key: str) -> Object:
    return {"agents": [{"name": "a", "systemPromptFrom": {"configMapKeyRef": {"name": name, "key": key}}}]}


REFUSED: dict[str, tuple[Object, str]] = {
    # What would reach into paths of the API server's URLs, or of the container's file system (SEC-4).
    "a Secret up the path": (credentials("../../kube-system/secrets/a"), "should match"),
    "a Secret of another namespace": (credentials("kube-system/a"), "should match"),
    "a key up the path": (credentials("a", "../../etc/passwd"), "should match"),
    "two dots as a key": (credentials("a", ".."), "should match"),
    "a query behind a name": (credentials("a?watch=1"), "should match"),
    "an escaped slash": (credentials("a%2Fb"), "should match"),
    "a ConfigMap up the path": (prompt("../a", "b"), "should match"),
    "a pull secret up the path": ({"runtime": {"imagePullSecrets": [{"name": "../a"}]}}, "should match"),
    "a ServiceAccount up the path": ({"runtime": {"serviceAccount": {"name": "../a"}}}, "should match"),
    "a bundle up the path": (
        {"runtime": {"trustBundle": {"configMapKeyRef": {"name": "..", "key": "a"}}}},
        "should match",
    ),
    # Identities.
    "a ServiceAccount of somebody else": ({"runtime": {"serviceAccount": {"name": "vault"}}}, PODS),
    "a role in the cloud": (
        {"runtime": {"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "admin"}}}},
        "spec.runtime.serviceAccount.annotations: a change needs the right to create ServiceAccounts",
    ),
    # What others do with pods.
    "a place behind another Service": ({"runtime": {"podLabels": {"app": "payments"}}}, f"podLabels: a change {PODS}"),
    "labels that a NetworkPolicy lets through": ({"runtime": {"podLabels": {"role": "database-client"}}}, PODS),
    "the pods of another AgentService": (
        {"runtime": {"podLabels": {"agentservice.dev/service": "other"}}},
        "keys under agentservice.dev/ and app.kubernetes.io/ are set by the operator",
    ),
    "orders to an injector": (
        {"runtime": {"podAnnotations": {"vault.hashicorp.com/role": "admin"}}},
        f"podAnnotations: a change {PODS}",
    ),
    "no confinement by AppArmor": (
        {"runtime": {"podAnnotations": {"container.apparmor.security.beta.kubernetes.io/runtime": "unconfined"}}},
        PODS,
    ),
    "a program of one's own": ({"runtime": {"image": "example.com/mine:1"}}, f"image: a change {PODS}"),
    "room that others leave": ({"runtime": {"priorityClassName": "system-node-critical"}}, "priorityClassName: a"),
    "nodes kept for others": ({"runtime": {"tolerations": [{"operator": "Exists"}]}}, f"tolerations: a change {PODS}"),
    "nodes of others": ({"runtime": {"nodeSelector": {"team": "b"}}}, f"nodeSelector: a change {PODS}"),
    "nodes without others": (
        {"runtime": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}}},
        f"affinity: a change {PODS}",
    ),
    # What is exposed and let through.
    "an Ingress": ({"exposure": {"ingress": {"hosts": ["bank.example.com"]}}}, "needs the right to create Ingresses"),
    "an HTTPRoute": ({"exposure": {"httpRoute": {"parentRefs": [{"name": "public"}]}}}, "right to create HTTPRoutes"),
    "a LoadBalancer": ({"exposure": {"service": {"type": "LoadBalancer"}}}, "needs the right to create Services"),
    "a NodePort": ({"exposure": {"service": {"type": "NodePort"}}}, "needs the right to create Services"),
    "a name in DNS": (
        {"exposure": {"service": {"annotations": {"external-dns.alpha.kubernetes.io/hostname": "bank.example.com"}}}},
        "spec.exposure.service.annotations: a change needs the right",
    ),
    "a Service out of the cluster": ({"exposure": {"service": {"type": "ExternalName"}}}, "Unsupported value"),
    "a way in": ({"networkPolicy": {"allowFrom": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}}, "create NetworkPolicies"),
    "a way out": ({"networkPolicy": {"allowTo": [{}]}}, "create NetworkPolicies"),
    "another Prometheus": (
        {"observability": {"prometheusRule": {"labels": {"release": "platform"}}}},
        "right to create PrometheusRules",
    ),
    "a scrape each second": ({"observability": {"podMonitor": {"interval": "1s"}}}, "right to create PodMonitors"),
    # What others do with children.
    "an application of Argo CD": (
        {"inheritedMetadata": {"labels": {"app.kubernetes.io/instance": "bank"}}},
        "keys under agentservice.dev/ and app.kubernetes.io/ are set by the operator",
    ),
    "copies of Secrets into other namespaces": (
        {"inheritedMetadata": {"annotations": {"reflector.v1.k8s.emberstack.com/reflection-auto-enabled": "true"}}},
        "spec.inheritedMetadata: a change needs the right",
    ),
    # Storage.
    "a volume": ({"state": {"backend": "Volume", "volume": {"size": "1Gi"}}}, "right to create PersistentVolumeClaims"),
    # Values that belong into Secrets.
    "a secret in the open": ({"runtime": {"env": [{"name": "API_KEY", "value": "a"}]}}, "put it into a Secret"),
    "a variable of the operator": ({"runtime": {"env": [{"name": "AGENTSERVICE_A", "value": "a"}]}}, "by the operator"),
}


@pytest.mark.parametrize(("spec", "says"), REFUSED.values(), ids=REFUSED)
def test_sec_1_sec_4_what_the_author_could_not_do_alone_is_refused_with_a_sentence(
    author: ApiClient, home: str, spec: Object, says: str
) -> None:
    assert says in str(refusal(author, agent_service(home, **spec)))


def test_sec_1_a_namespace_that_is_left_out_of_the_body_changes_nothing(author: ApiClient, home: str) -> None:
    body = agent_service(home, exposure={"service": {"type": "LoadBalancer"}})
    path = author.path_of(body, collection=True)
    del body["metadata"]["namespace"]

    with pytest.raises(ApiError, match="needs the right to create Services"):
        author.request("POST", path, body=body, query={"dryRun": "All"})


def test_sec_1_another_namespace_and_every_other_kind_stay_closed(author: ApiClient, home: str) -> None:
    meta = {"name": "mine", "namespace": home}
    others: list[Object] = [
        agent_service("default"),
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta},
    ]

    for body in others:
        with pytest.raises(ApiError) as told:
            author.create(body, dryRun="All")
        assert told.value.code == http.client.FORBIDDEN


GIVEN: dict[str, tuple[Object, Object]] = {
    "a program of one's own under the identity": (
        {"runtime": {"serviceAccount": {"name": "cloud"}}},
        {"runtime": {"image": "example.com/mine:1"}},
    ),
    "a Service further out": (
        {"exposure": {"service": {"type": "NodePort"}}},
        {"exposure": {"service": {"type": "LoadBalancer"}}},
    ),
    "the end of what was to be kept": (
        {"state": {"backend": "Volume", "volume": {"size": "1Gi"}}},
        {"state": {"volume": {"whenDeleted": "Delete"}}},
    ),
    "a larger volume": (
        {"state": {"backend": "Volume", "volume": {"size": "1Gi"}}},
        {"state": {"volume": {"size": "9Ti"}}},
    ),
    "a further host": (
        {"exposure": {"ingress": {"hosts": ["a.example"]}}},
        {"exposure": {"ingress": {"hosts": ["a.example", "bank.example"]}}},
    ),
    "pods out of a NetworkPolicy's sight": (
        {"runtime": {"podLabels": {"quarantine": "yes"}}},
        {"runtime": {"podLabels": None}},
    ),
}
"""What somebody else wrote, and what the author makes of it."""


@pytest.mark.parametrize(("given", "patch"), GIVEN.values(), ids=GIVEN)
def test_sec_1_what_somebody_else_was_allowed_does_not_grow_in_the_authors_hands(
    cluster: Cluster, author: ApiClient, home: str, given: Object, patch: Object
) -> None:
    path = cluster.api.path_of(cluster.api.apply(agent_service(home, "given", **given), force=True))
    try:
        assert author.patch(path, {"spec": {"requestTimeoutSeconds": 60}}, dryRun="All")
        with pytest.raises(ApiError, match="needs the right to create"):
            author.patch(path, {"spec": patch}, dryRun="All")
    finally:
        cluster.api.delete(path)


def test_sec_1_a_status_is_the_operators(cluster: Cluster, author: ApiClient, home: str) -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Available", "message": "", "lastTransitionTime": TIME}
    created = author.create({**agent_service(home, "boasts"), "status": {"conditions": [ready]}})
    path = cluster.api.path_of(created)
    try:
        assert "Available" not in str(created.get("status"))  # but the default of the definition
        with pytest.raises(ApiError) as of_status:
            author.patch(f"{path}/status", {"status": {"conditions": [ready]}})
        assert of_status.value.code == http.client.FORBIDDEN
    finally:
        cluster.api.delete(path)


@pytest.fixture
def colleague(services: AgentServices) -> Iterator[ApiClient]:
    """The API as the author, in a namespace where an operator works."""
    with author_of(services.cluster, services.namespace) as api:
        yield api


def test_sec_1_the_names_of_other_peoples_objects_give_nothing(
    operator: OperatorProcess, services: AgentServices, colleague: ApiClient
) -> None:
    account = services.make_service_account("vault")
    keys = services.make_secret("bank-api-keys", password="obviously-fake")
    names = ("vault", "bank", "default")
    for name in names:
        colleague.create(agent_service(services.namespace, name))

    for name in names:
        services.wait_not_ready("NameConflict", name)
    operator.settle()

    made = [item["kind"] for name in names for item in services.children(name)]
    assert "Deployment" not in made
    for item in (account, keys):
        live = services.cluster.api.get(services.cluster.api.path_of(item))
        assert live["metadata"]["resourceVersion"] == item["metadata"]["resourceVersion"]


ORDERS = {"app.kubernetes.io/instance": "bank", "argocd.argoproj.io/instance": "bank", "team": "b"}


def test_sec_1_the_metadata_of_an_agent_service_orders_nothing_about_its_children(
    operator: OperatorProcess, services: AgentServices, colleague: ApiClient
) -> None:
    body = agent_service(services.namespace)
    body["metadata"] |= {"labels": ORDERS, "annotations": ORDERS}
    colleague.create(body)
    services.wait_ready()

    made = [*services.children(), *services.pods()]

    assert operator.child.exit_code is None
    for item in made:
        for part in ("labels", "annotations"):
            assert not ORDERS.keys() & (item["metadata"].get(part) or {}).keys()


def test_sec_1_sec_12_sec_13_pods_have_no_more_than_they_need(
    operator: OperatorProcess, services: AgentServices, colleague: ApiClient
) -> None:
    everything: Object = {}
    for spec in UNKNOWN.values():
        for field, value in spec.items():
            everything.setdefault(field, {}).update(value)
    everything["runtime"]["trustBundle"] = None
    colleague.create(agent_service(services.namespace, **everything))
    services.wait_ready()

    (pod,) = (pod["spec"] for pod in services.pods())

    assert operator.child.exit_code is None
    held = {"hostNetwork", "hostPID", "hostIPC", "hostAliases", "initContainers", "shareProcessNamespace"}
    assert not held & pod.keys()
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("hello", False)
    assert (pod["schedulerName"], pod["enableServiceLinks"]) == ("default-scheduler", False)
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} == {"configMap", "secret", "emptyDir"}
    (container,) = pod["containers"]
    assert not {"command", "args", "workingDir"} & container.keys()
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert [port for port in container["ports"] if "hostPort" in port or port["containerPort"] < 1024] == []
    assert "host" not in container["livenessProbe"]["httpGet"]
