"""The cold skip on a real API server: what we applied is read back, and only what touches it asks for a write."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest
from agentservice_operator.engine.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    HORIZONTAL_POD_AUTOSCALER,
    NETWORK_POLICY,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)
from agentservice_operator.engine.ownership import digest, owned, owns
from agentservice_operator.engine.ports import FIELD_MANAGER, Object
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dev.cluster import Cluster


class Home(NamedTuple):
    """Where a test lives: children need an owner that exists, or the garbage collector takes them."""

    namespace: str
    owner: Object


@pytest.fixture
def home(cluster: Cluster, namespace: str) -> Home:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": "owner"}}
    uid = cluster.api.create(body)["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    return Home(namespace, owner | {"controller": True, "blockOwnerDeletion": True})


def named(home: Home, kind: Kind, **body: Any) -> Object:
    metadata = {
        "namespace": home.namespace,
        "name": "hello",
        "labels": {"app": "hello", "b": "2"},
        "annotations": {"note": "ours"},
        "ownerReferences": [home.owner],
    }
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}


def deployment(home: Home) -> Object:
    labels = {"app": "hello"}
    containers = [
        {
            "name": "agent",
            "image": "example.com/agent:1",
            "args": ["serve", "--port", "8080"],
            "env": [
                {"name": "ZED", "value": "last letter first"},
                {"name": "POD", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "one"}}},
                {"name": "ALPHA", "value": "$(ZED)"},
            ],
            "ports": [{"name": "http", "containerPort": 8080}, {"name": "admin", "containerPort": 9090}],
            "resources": {"requests": {"cpu": "500m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
            "securityContext": {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "admin"}, "periodSeconds": 5},
            "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "config", "mountPath": "/etc/agent"}],  # noqa: S108 - in the pod
        },
        {"name": "helper", "image": "example.com/helper:1", "securityContext": {}},
    ]
    pod = {
        "serviceAccountName": "hello",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "imagePullSecrets": [{"name": "pull"}],
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": labels},
            }
        ],
        "containers": containers,
        "volumes": [
            {"name": "tmp", "emptyDir": {}},
            {"name": "config", "projected": {"sources": [{"configMap": {"name": "hello"}}]}},
        ],
    }
    return named(
        home,
        DEPLOYMENT,
        spec={
            "replicas": 2,
            "minReadySeconds": 1,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels, "annotations": {"hash": "1"}}, "spec": pod},
        },
    )


def children(home: Home) -> list[Object]:
    target = {"type": "Utilization", "averageUtilization": 70}
    return [
        deployment(home),
        named(home, CONFIG_MAP, data={"a": "1", "b": ""}),
        named(home, SECRET, type="Opaque", data={"key": "ZmFrZQ=="}),
        named(home, SERVICE_ACCOUNT, automountServiceAccountToken=False, imagePullSecrets=[{"name": "pull"}]),
        named(
            home,
            SERVICE,
            spec={
                "type": "ClusterIP",
                "selector": {"app": "hello"},
                "ports": [
                    {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"},
                    {"name": "admin", "port": 9090, "targetPort": 9090},
                ],
            },
        ),
        named(
            home,
            HORIZONTAL_POD_AUTOSCALER,
            spec={
                "minReplicas": 1,
                "maxReplicas": 5,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "hello"},
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}},
            },
        ),
        named(
            home,
            NETWORK_POLICY,
            spec={
                "podSelector": {},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": "http", "protocol": "TCP"}]}],
            },
        ),
    ]


def apply(cluster: Cluster, intent: Object, manager: str = FIELD_MANAGER) -> Object:
    return cluster.api.apply(intent, manager=manager, force=True)


def needs_write(cluster: Cluster, intent: Object) -> bool:
    live = cluster.api.get(cluster.api.path_of(intent))
    return digest(owned(live, FIELD_MANAGER)) != digest(intent)


@pytest.mark.parametrize("number", range(7))
def test_every_kind_of_child_is_read_back_as_it_was_applied(cluster: Cluster, home: Home, number: int) -> None:
    intent = children(home)[number]

    live = apply(cluster, intent)

    assert owned(live, FIELD_MANAGER) == intent
    assert not needs_write(cluster, intent)


@pytest.mark.parametrize(
    "command",
    [
        "label deployment hello theirs=x",
        "annotate deployment hello theirs=x",
        "rollout restart deployment hello",
        "set env deployment hello -c helper THEIRS=x",
        "set resources deployment hello -c helper --limits=cpu=1",
    ],
)
def test_what_others_add_asks_for_nothing(cluster: Cluster, home: Home, command: str) -> None:
    intent = deployment(home)
    before = apply(cluster, intent)

    cluster.kubectl(*command.split(), "-n", home.namespace)

    after = cluster.api.get(cluster.api.path_of(intent))
    assert before["metadata"]["resourceVersion"] != after["metadata"]["resourceVersion"]
    assert owned(after, FIELD_MANAGER) == intent


@pytest.mark.parametrize(
    "command",
    [
        "label --overwrite deployment hello app=theirs",
        "label deployment hello app-",
        "annotate deployment hello note-",
        "scale deployment hello --replicas=5",
        "set image deployment hello agent=example.com/agent:2",
        "set env deployment hello -c agent ZED-",
        "set resources deployment hello -c agent --limits=memory=2Gi",
        "set serviceaccount deployment hello theirs",
    ],
)
def test_what_others_take_is_taken_back(cluster: Cluster, home: Home, command: str) -> None:
    intent = deployment(home)
    apply(cluster, intent)

    cluster.kubectl(*command.split(), "-n", home.namespace)

    assert needs_write(cluster, intent)
    restored = apply(cluster, intent)
    assert owned(restored, FIELD_MANAGER) == intent


def test_sidecar_that_is_injected_in_front_asks_for_nothing(cluster: Cluster, home: Home) -> None:
    intent = deployment(home)
    live = apply(cluster, intent)
    pod = live["spec"]["template"]["spec"]
    pod["containers"].insert(0, {"name": "sidecar", "image": "example.com/sidecar:1"})
    pod["containers"][1]["env"].insert(1, {"name": "INJECTED", "value": "x"})
    pod["volumes"].insert(0, {"name": "injected", "emptyDir": {}})

    update(cluster, live, manager="injector")

    assert not needs_write(cluster, intent)


def test_order_that_others_changed_is_seen_and_restored(cluster: Cluster, home: Home) -> None:
    """Order matters: ``$(ZED)`` in ALPHA is only replaced where ZED comes first."""
    intent = deployment(home)
    live = apply(cluster, intent)
    live["spec"]["template"]["spec"]["containers"][0]["env"].reverse()
    update(cluster, live, manager="kubectl-edit")

    assert needs_write(cluster, intent)

    assert owned(apply(cluster, intent), FIELD_MANAGER) == intent


def test_order_that_we_change_is_applied(cluster: Cluster, home: Home) -> None:
    intent = deployment(home)
    apply(cluster, intent)
    containers = intent["spec"]["template"]["spec"]["containers"]
    for mergeable in (containers, containers[0]["env"], containers[0]["ports"], containers[0]["volumeMounts"]):
        mergeable.reverse()

    assert needs_write(cluster, intent)
    assert owned(apply(cluster, intent), FIELD_MANAGER) == intent


def test_field_that_another_applies_with_the_same_value_stays_ours_too(cluster: Cluster, home: Home) -> None:
    intent = deployment(home)
    apply(cluster, intent)

    apply(cluster, intent, manager="argocd-controller")

    assert not needs_write(cluster, intent)


def test_field_that_we_no_longer_want_is_dropped(cluster: Cluster, home: Home) -> None:
    intent = deployment(home)
    apply(cluster, intent)
    less = copy.deepcopy(intent)
    del less["metadata"]["annotations"]
    del less["spec"]["template"]["spec"]["containers"][0]["env"][1]

    assert needs_write(cluster, less)
    assert owned(apply(cluster, less), FIELD_MANAGER) == less


def test_replicas_belong_to_whoever_set_them(cluster: Cluster, home: Home) -> None:
    intent = deployment(home)
    live = apply(cluster, intent)
    assert owns(live, FIELD_MANAGER, ("spec", "replicas"))

    cluster.kubectl("scale", "deployment", "hello", "--replicas=5", "-n", home.namespace)

    live = cluster.api.get(cluster.api.path_of(intent))
    assert not owns(live, FIELD_MANAGER, ("spec", "replicas"))
    assert owns(live, FIELD_MANAGER, ("spec", "selector"))


NAMES = st.lists(st.sampled_from(["one", "two", "three", "four"]), max_size=4, unique=True)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ours=st.lists(NAMES, min_size=1, max_size=3), theirs=NAMES)
def test_any_list_of_variables_is_read_back_in_order_among_those_of_others(
    cluster: Cluster, home: Home, ours: list[list[str]], theirs: list[str]
) -> None:
    foreign = deployment(home)
    foreign["spec"]["template"]["spec"]["containers"] = [
        {"name": "agent", "image": "example.com/agent:1", "env": [{"name": f"their-{name}"} for name in theirs]}
    ]
    foreign["metadata"].pop("annotations")
    apply(cluster, foreign, manager="somebody")
    for names in ours:
        intent = deployment(home)
        container = intent["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [{"name": name, "value": "x"} for name in names]
        if not names:
            del container["env"]
        assert owned(apply(cluster, intent), FIELD_MANAGER) == intent


def update(cluster: Cluster, live: Object, *, manager: str) -> None:
    """Replace an object, whatever the Deployment controller wrote to it meanwhile."""
    del live["metadata"]["resourceVersion"]
    cluster.api.request("PUT", cluster.api.path_of(live), body=live, query={"fieldManager": manager})
