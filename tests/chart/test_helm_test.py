"""What ``helm test`` runs in a cluster, and with which rights."""

from __future__ import annotations

from tests.chart.conftest import Object, Render

HOOK = "helm.sh/hook"


def of_the_test(objects: list[Object]) -> dict[str, Object]:
    """The objects of the test, by kind."""
    return {item["kind"]: item for item in objects if HOOK in (item["metadata"].get("annotations") or {})}


def test_nothing_of_the_test_stays_where_it_succeeded_and_its_rights_come_before_its_pod(render: Render) -> None:
    parts = of_the_test(render(tests=True))

    assert set(parts) == {"ServiceAccount", "Role", "RoleBinding", "Pod"}
    notes = {kind: part["metadata"]["annotations"] for kind, part in parts.items()}
    assert {each["helm.sh/hook-delete-policy"] for each in notes.values()} == {"before-hook-creation,hook-succeeded"}
    assert {kind for kind, each in notes.items() if each.get("helm.sh/hook-weight") == "-1"} == set(parts) - {"Pod"}


def test_it_may_make_see_and_delete_agent_services_and_nothing_else(render: Render) -> None:
    parts = of_the_test(render(tests=True))

    (rule,) = parts["Role"]["rules"]
    assert rule == {
        "apiGroups": ["agentservice.dev"],
        "resources": ["agentservices"],
        "verbs": ["create", "get", "delete"],
    }
    account = parts["ServiceAccount"]["metadata"]["name"]
    assert parts["Pod"]["spec"]["serviceAccountName"] == account
    assert parts["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "platform"}]


def test_it_tries_a_namespace_that_the_operator_watches(render: Render) -> None:
    everywhere = of_the_test(render(tests=True))
    somewhere = of_the_test(render({"watchNamespaces": ["team-b", "team-a"]}, tests=True))

    assert target(everywhere) == {"platform"}
    assert target(somewhere) == {"team-a"}


def test_its_pod_meets_the_restricted_pod_security_standard(render: Render) -> None:
    pod = of_the_test(render(tests=True))["Pod"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_nothing_of_the_operator_selects_its_pod(render: Render) -> None:
    everything = render({"podMonitor": {"enabled": True}}, tests=True)
    labels = of_the_test(everything)["Pod"]["metadata"]["labels"]

    selected = {item["kind"]: selector(item) for item in everything if selector(item)}

    assert set(selected) == {"Deployment", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"}
    assert [kind for kind, wanted in selected.items() if wanted.items() <= labels.items()] == []


def test_its_name_stays_within_63_characters_and_is_not_the_operators(render: Render) -> None:
    longest = "x" * 63

    names = {
        part["metadata"]["name"] for part in of_the_test(render({"fullnameOverride": longest}, tests=True)).values()
    }

    assert [len(name) for name in names] == [63]
    assert longest not in names


def target(parts: dict[str, Object]) -> set[str]:
    """Where the agent is made, as its rights and its command say."""
    rights = {parts[kind]["metadata"]["namespace"] for kind in ("Role", "RoleBinding")}
    return rights | {parts["Pod"]["spec"]["containers"][0]["command"][-1]}


def selector(item: Object) -> dict[str, str]:
    """The labels of the pods that an object selects; empty where it selects none."""
    spec = item.get("spec") or {}
    found: dict[str, str] = (spec.get("selector") or spec.get("podSelector") or {}).get("matchLabels") or {}
    return found
