"""The shipped admission policies: an author of AgentServices gains nothing that they could not create themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dev import toolchain
from dev.api_client import ApiError
from dev.cluster import Cluster
from dev.process import wait_until
from tests.controlplane.agent_services import agent_service
from tests.controlplane.author import AUTHOR, applied, granted, refusal
from tests.controlplane.operator_rbac import CHART
from tests.controlplane.test_chart_install import run

pytestmark = pytest.mark.usefixtures("crd")

CHILDREN = {
    "apiGroups": ["", "apps", "networking.k8s.io", "policy"],
    "resources": [
        "configmaps",
        "deployments",
        "networkpolicies",
        "poddisruptionbudgets",
        "secrets",
        "serviceaccounts",
        "services",
    ],
    "verbs": ["create"],
}
INGRESSES = {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["create"]}
HTTP_ROUTES = {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["httproutes"], "verbs": ["create"]}
"""Rules of a Role."""
INGRESS: dict[str, Any] = {"hosts": ["agents.example.com"]}
RIGHTS = {"ingress": (INGRESSES, "Ingresses"), "httpRoute": (HTTP_ROUTES, "HTTPRoutes")}
"""What a route takes, and how the refusal calls it."""
ROUTES: dict[str, Any] = {"ingress": INGRESS, "httpRoute": {"parentRefs": [{"name": "public"}]}}


ALLOWED = "{example.com/owner,cert-manager.io/*}"
"""What an installation allows whose administrators have chosen."""


@pytest.mark.parametrize("kind", ["LoadBalancer", "NodePort"])
def test_a_service_type_beyond_the_authors_rights_is_refused_with_a_sentence(
    author: Any, namespace: str, kind: str
) -> None:
    told = refusal(author, service(namespace, "hello", kind))

    assert told is not None
    assert f"spec.exposure.service.type: {kind} needs the right to create Services in namespace {namespace}" in told
    assert "leave it at ClusterIP" in told


def test_a_cluster_ip_needs_no_further_right(author: Any, namespace: str) -> None:
    assert refusal(author, service(namespace, "hello", "ClusterIP")) is None


def test_who_may_create_services_may_choose_their_type(cluster: Cluster, author: Any, namespace: str) -> None:
    services = {"apiGroups": [""], "resources": ["services"], "verbs": ["create"]}
    with granted(cluster, namespace, "services", services):
        assert refusal(author, service(namespace, "hello", "LoadBalancer")) is None


def test_an_unrelated_edit_of_what_somebody_else_allowed_is_let_through(
    cluster: Cluster, author: Any, namespace: str
) -> None:
    cluster.api.apply(service(namespace, "hello", "LoadBalancer"))

    edited = service(namespace, "hello", "LoadBalancer")
    edited["spec"]["agents"][0]["systemPrompt"] = "Be brief."

    assert refusal(author, edited) is None


METADATA: dict[str, dict[str, Any]] = {
    "spec.exposure.service.annotations": {"exposure": {"service": {"annotations": {"example.com/public": "true"}}}},
    "spec.inheritedMetadata": {"inheritedMetadata": {"annotations": {"eks.amazonaws.com/role-arn": "admin"}}},
    "spec.inheritedMetadata:": {"inheritedMetadata": {"labels": {"example.com/team": "a"}}},
}


@pytest.mark.parametrize(("field", "spec"), METADATA.items())
def test_metadata_of_children_that_the_author_could_not_create_is_refused_with_a_sentence(
    author: Any, namespace: str, field: str, spec: dict[str, Any]
) -> None:
    told = refusal(author, agent_service(namespace, "hello", **spec))

    assert told is not None
    assert field in told
    assert f"in namespace {namespace}, which {AUTHOR} does not have" in told


@pytest.mark.parametrize("spec", METADATA.values())
def test_metadata_that_somebody_else_set_is_left_alone_by_other_edits_and_not_taken_away(
    cluster: Cluster, author: Any, namespace: str, spec: dict[str, Any]
) -> None:
    cluster.api.apply(agent_service(namespace, "hello", **spec))

    assert refusal(author, agent_service(namespace, "hello", **spec, replicas=2)) is None
    path = cluster.api.path("agentservice.dev/v1alpha1", "AgentService", namespace=namespace, name="hello")
    with pytest.raises(ApiError, match=r"as (it is|they are)"):
        author.patch(path, {"spec": dict.fromkeys(spec)}, dryRun="All")


@pytest.mark.parametrize("spec", METADATA.values())
def test_who_may_create_the_children_may_choose_their_metadata(
    cluster: Cluster, author: Any, namespace: str, spec: dict[str, Any]
) -> None:
    with granted(cluster, namespace, "children", CHILDREN):
        assert refusal(author, agent_service(namespace, "hello", **spec)) is None


CLOUD: dict[str, Any] = {"runtime": {"serviceAccount": {"name": "cloud"}}}
ROLE: dict[str, Any] = {"runtime": {"serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "admin"}}}}


def test_sec_3_a_service_account_that_the_authors_pods_could_not_run_as_is_refused_with_a_sentence(
    author: Any, namespace: str
) -> None:
    told = refusal(author, agent_service(namespace, **CLOUD))

    assert told is not None
    assert "spec.runtime.serviceAccount.name: cloud needs the right to create pods or Deployments" in told
    assert f"in namespace {namespace}, which {AUTHOR} does not have; leave it out" in told


def test_sec_3_an_annotation_that_the_author_could_not_give_a_service_account_is_refused_with_a_sentence(
    cluster: Cluster, author: Any, namespace: str
) -> None:
    told = refusal(author, agent_service(namespace, **ROLE))

    assert told is not None
    assert "spec.runtime.serviceAccount.annotations: a change needs the right to create ServiceAccounts" in told
    cluster.api.apply(agent_service(namespace, **ROLE))
    assert refusal(author, agent_service(namespace, **ROLE, replicas=2)) is None
    path = cluster.api.path("agentservice.dev/v1alpha1", "AgentService", namespace=namespace, name="hello")
    with pytest.raises(ApiError, match="leave them as they are"):
        author.patch(path, {"spec": {"runtime": None}}, dryRun="All")


def test_sec_3_another_service_account_than_the_one_somebody_chose_is_refused(
    cluster: Cluster, author: Any, namespace: str
) -> None:
    cluster.api.apply(agent_service(namespace, **CLOUD))

    assert refusal(author, agent_service(namespace, **CLOUD, replicas=2)) is None
    other = agent_service(namespace, runtime={"serviceAccount": {"name": "other"}})
    assert "other needs the right" in str(refusal(author, other))


@pytest.mark.parametrize(
    ("spec", "kind"),
    [(CLOUD, ("", "pods")), (CLOUD, ("apps", "deployments")), (ROLE, ("", "serviceaccounts"))],
    ids=["pods", "deployments", "serviceaccounts"],
)
def test_sec_3_who_could_do_it_without_us_may_choose_the_service_account(
    cluster: Cluster, author: Any, namespace: str, spec: dict[str, Any], kind: tuple[str, str]
) -> None:
    right = {"apiGroups": [kind[0]], "resources": [kind[1]], "verbs": ["create"]}
    with granted(cluster, namespace, kind[1], right):
        assert refusal(author, agent_service(namespace, **spec)) is None


@pytest.mark.parametrize("field", ROUTES)
def test_sec_3_metadata_that_a_route_inherits_needs_the_right_to_create_one(
    cluster: Cluster, author: Any, namespace: str, field: str
) -> None:
    rule, says = RIGHTS[field]
    exposed = {"exposure": {field: ROUTES[field]}}
    cluster.api.apply(agent_service(namespace, "hello", **exposed))
    annotated = agent_service(
        namespace, "hello", inheritedMetadata={"annotations": {"example.com/snippet": "deny all;"}}, **exposed
    )

    with granted(cluster, namespace, "children", CHILDREN):
        told = refusal(author, annotated)
        with granted(cluster, namespace, "routes", rule):
            assert refusal(author, annotated) is None

    assert told is not None
    assert f"spec.inheritedMetadata: a change needs the right to create {says} in namespace {namespace}" in told


@pytest.mark.parametrize(
    ("field", "route"),
    [
        ("ingress", {"hosts": ["agents.example.com", "www.example.com"]}),
        ("ingress", {**INGRESS, "tls": {"secretName": "wildcard"}}),
        ("ingress", {**INGRESS, "annotations": {"example.com/snippet": "deny all;"}}),
        ("httpRoute", {"parentRefs": [{"name": "public"}], "hostnames": ["a.example"]}),
        ("httpRoute", {"parentRefs": [{"name": "public", "namespace": "other"}]}),
    ],
    ids=str,
)
def test_sec_3_a_route_and_any_change_of_it_need_the_right_to_create_one(
    cluster: Cluster, author: Any, namespace: str, field: str, route: dict[str, Any]
) -> None:
    rule, says = RIGHTS[field]
    cluster.api.apply(agent_service(namespace, "exposed", exposure=ROUTES))
    wanted = [
        agent_service(namespace, "hello", exposure={field: route}),
        agent_service(namespace, "exposed", exposure={**ROUTES, field: route}),
    ]

    told = [refusal(author, each) for each in wanted]
    with granted(cluster, namespace, "routes", rule):
        allowed = [refusal(author, each) for each in wanted]

    sentence = f"spec.exposure.{field}: a change needs the right to create {says} in namespace {namespace}, which"
    assert [sentence in str(each) for each in told] == [True, True]
    assert allowed == [None, None]


def test_routes_that_somebody_else_allowed_are_left_alone_by_other_edits_and_may_go(
    cluster: Cluster, author: Any, namespace: str
) -> None:
    cluster.api.apply(agent_service(namespace, "hello", exposure=ROUTES))

    assert refusal(author, agent_service(namespace, "hello", exposure=ROUTES, replicas=2)) is None
    assert refusal(author, agent_service(namespace, "hello")) is None


MONITORING: dict[str, dict[str, Any]] = {
    "podMonitor.labels": {"observability": {"podMonitor": {"labels": {"release": "platform"}}}},
    "podMonitor.interval": {"observability": {"podMonitor": {"interval": "1s"}}},
    "prometheusRule.labels": {"observability": {"prometheusRule": {"labels": {"release": "platform"}}}},
}


@pytest.mark.parametrize(("field", "spec"), MONITORING.items())
def test_a_choice_of_prometheus_beyond_the_authors_rights_is_refused_with_a_sentence(
    author: Any, namespace: str, field: str, spec: dict[str, Any]
) -> None:
    told = refusal(author, agent_service(namespace, **spec))

    kind = "PodMonitors" if field.startswith("podMonitor") else "PrometheusRules"
    assert told is not None
    assert f"spec.observability.{field}: a change needs the right to create {kind} in namespace {namespace}" in told
    assert f"which {AUTHOR} does not have" in told


@pytest.mark.parametrize("spec", MONITORING.values())
def test_a_prometheus_that_somebody_else_chose_is_left_alone_by_other_edits_and_not_taken_away(
    cluster: Cluster, author: Any, namespace: str, spec: dict[str, Any]
) -> None:
    cluster.api.apply(agent_service(namespace, **spec))

    assert refusal(author, agent_service(namespace, **spec, replicas=2)) is None
    path = cluster.api.path("agentservice.dev/v1alpha1", "AgentService", namespace=namespace, name="hello")
    with pytest.raises(ApiError, match=r"as (it is|they are)"):
        author.patch(path, {"spec": dict.fromkeys(spec)}, dryRun="All")


@pytest.mark.parametrize("mode", ["Auto", "Always", "Never"])
def test_monitoring_as_the_operator_makes_it_needs_no_further_right(author: Any, namespace: str, mode: str) -> None:
    modes = {"podMonitor": {"mode": mode}, "prometheusRule": {"mode": mode}}

    assert refusal(author, agent_service(namespace, observability=modes)) is None


@pytest.mark.parametrize("spec", MONITORING.values())
def test_who_may_create_monitors_may_choose_the_prometheus(
    cluster: Cluster, author: Any, namespace: str, spec: dict[str, Any]
) -> None:
    resources = ["podmonitors", "prometheusrules"]
    monitors = {"apiGroups": ["monitoring.coreos.com"], "resources": resources, "verbs": ["create"]}
    with granted(cluster, namespace, "monitors", monitors):
        assert refusal(author, agent_service(namespace, **spec)) is None


@pytest.fixture
def listed(cluster: Cluster, namespace: str) -> Iterator[None]:
    """The chart's list of allowed annotations, in force for the namespace."""
    helm = toolchain.ensure("helm4")["helm4"]
    values = (f"--set=watchNamespaces={{{namespace}}}", f"--set=admissionPolicies.allowedAnnotations={ALLOWED}")
    shown = "--show-only=templates/admission/annotations.yaml"
    with applied(cluster, run(cluster, helm, "template", namespace, CHART, f"--namespace={namespace}", *values, shown)):
        beyond = annotated(namespace, "ingress", "example.com/probe")
        wait_until(lambda: refusal(cluster.api, beyond), deadline=30, describe=lambda: "the policy is not in force yet")
        yield


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("place", ["service", "ingress", "inheritedMetadata"])
def test_sec_3_a_list_of_annotations_binds_administrators_too(cluster: Cluster, namespace: str, place: str) -> None:
    for key in ("example.com/owner", "cert-manager.io/cluster-issuer"):
        assert refusal(cluster.api, annotated(namespace, place, key)) is None
    for key in ("example.com/owners", "cert-manager.iox/a", "nginx.ingress.kubernetes.io/configuration-snippet"):
        told = str(refusal(cluster.api, annotated(namespace, place, key)))
        assert f"annotations: this installation does not allow {key}" in told


def test_what_a_list_of_annotations_finds_may_stay_as_it_is(
    cluster: Cluster, namespace: str, request: pytest.FixtureRequest
) -> None:
    there = annotated(namespace, "ingress", "example.com/other")
    cluster.api.apply(there)
    request.getfixturevalue("listed")

    there["spec"]["replicas"] = 2
    assert refusal(cluster.api, there) is None
    there["spec"]["exposure"]["ingress"]["annotations"]["example.com/other"] = "changed"
    assert refusal(cluster.api, there) is not None
    assert refusal(cluster.api, agent_service(namespace)) is None


def annotated(namespace: str, place: str, key: str) -> dict[str, Any]:
    """An AgentService whose children get an annotation."""
    annotations = {"annotations": {key: "x"}}
    if place == "inheritedMetadata":
        return agent_service(namespace, inheritedMetadata=annotations)
    return agent_service(namespace, exposure={place: {**(INGRESS if place == "ingress" else {}), **annotations}})


@pytest.mark.parametrize("field", ["allowFrom", "allowTo"])
def test_a_connection_beyond_the_authors_rights_is_refused_with_a_sentence(
    author: Any, namespace: str, field: str
) -> None:
    told = refusal(author, reachable(namespace, field))

    assert told is not None
    assert f"spec.networkPolicy.{field} needs the right to create NetworkPolicies in namespace {namespace}" in told


@pytest.mark.parametrize("policy", [{"mode": "Disabled"}, {"mode": "Enabled", "allowFrom": [], "allowTo": []}], ids=str)
def test_what_lets_nobody_through_another_policy_needs_no_further_right(
    author: Any, namespace: str, policy: dict[str, Any]
) -> None:
    assert refusal(author, agent_service(namespace, networkPolicy=policy)) is None


@pytest.mark.parametrize("field", ["allowFrom", "allowTo"])
def test_who_may_create_network_policies_may_allow_connections(
    cluster: Cluster, author: Any, namespace: str, field: str
) -> None:
    policies = {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["create"]}
    with granted(cluster, namespace, "policies", policies):
        assert refusal(author, reachable(namespace, field)) is None


@pytest.mark.parametrize("field", ["allowFrom", "allowTo"])
def test_what_somebody_else_allowed_may_stay_and_go_but_not_change(
    cluster: Cluster, author: Any, namespace: str, field: str
) -> None:
    allowed = reachable(namespace, field)
    cluster.api.apply(allowed)
    edited = reachable(namespace, field)
    edited["spec"]["agents"][0]["systemPrompt"] = "Be brief."
    wider = agent_service(namespace, networkPolicy={field: [*allowed["spec"]["networkPolicy"][field], {"to": []}]})

    assert refusal(author, edited) is None
    assert refusal(author, agent_service(namespace, networkPolicy={field: []})) is None
    assert refusal(author, wider) is not None


def reachable(namespace: str, field: str) -> dict[str, Any]:
    """An AgentService that may be reached from everywhere, or may reach everything."""
    everywhere: dict[str, Any] = {"podSelector": {}, "namespaceSelector": {}}
    return agent_service(
        namespace, networkPolicy={field: [everywhere if field == "allowFrom" else {"to": [everywhere]}]}
    )


def service(namespace: str, name: str, kind: str) -> dict[str, Any]:
    """An AgentService whose Service has this type."""
    return agent_service(namespace, name, exposure={"service": {"type": kind}})
