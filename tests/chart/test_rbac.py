"""The rights that the chart gives to the operator."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from agentservice_operator.engine.kinds import CHILDREN, PERSISTENT_VOLUME_CLAIM, SECRET

from tests.chart.conftest import Object, Render

READ = {"get", "list", "watch"}


def rules(objects: list[Object], kind: str, name: str) -> Iterator[tuple[str, str, set[str]]]:
    """(group, resource, verbs) of one role."""
    for item in objects:
        if item["kind"] == kind and item["metadata"]["name"] == name:
            for rule in item["rules"]:
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        yield group, resource, set(rule["verbs"])


@pytest.mark.parametrize("namespaces", [[], ["team-a"]])
def test_nothing_is_granted_by_wildcard_or_lets_rights_grow(render: Render, namespaces: list[str]) -> None:
    objects = render({"watchNamespaces": namespaces})

    for item in objects:
        for rule in item.get("rules") or ():
            words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
            assert not words & {"*", "escalate", "bind", "impersonate", "serviceaccounts/token", "pods/exec", "use"}
            assert not any("roles" in resource or "webhook" in resource for resource in rule["resources"])


def test_every_child_may_be_applied_and_pruned(render: Render) -> None:
    granted = {
        (group, resource): verbs
        for group, resource, verbs in rules(render(), "ClusterRole", "agents-agentservice-operator")
    }

    for kind in CHILDREN:
        needed = {"get", "create", "patch"} if kind is SECRET else READ | {"create", "patch", "delete"}
        if kind is PERSISTENT_VOLUME_CLAIM:
            needed -= {"delete"}  # there are conversations on it
        assert granted[kind.group, kind.plural] == needed


def test_secrets_are_never_listed_watched_or_deleted(render: Render) -> None:
    for item in render():
        for rule in item.get("rules") or ():
            if "secrets" in rule["resources"]:
                assert not set(rule["verbs"]) & {"list", "watch", "delete", "deletecollection", "update"}


def test_of_an_agent_service_only_the_status_is_written(render: Render) -> None:
    own = {
        resource: verbs
        for group, resource, verbs in rules(render(), "ClusterRole", "agents-agentservice-operator")
        if group == "agentservice.dev"
    }

    assert own == {"agentservices": READ, "agentservices/status": {"patch"}}


def test_events_are_neither_watched_nor_deleted(render: Render) -> None:
    granted = [
        verbs
        for _, resource, verbs in rules(render(), "ClusterRole", "agents-agentservice-operator")
        if resource == "events"
    ]

    assert granted == [{"list", "create", "patch"}]


def test_named_namespaces_need_no_cluster_wide_right(render: Render) -> None:
    objects = render({"watchNamespaces": ["team-b", "team-a"]})

    assert not [item["kind"] for item in objects if item["kind"] in {"ClusterRole", "ClusterRoleBinding"}]
    roles = {item["metadata"]["namespace"] for item in objects if item["kind"] == "Role"}
    assert roles == {"team-a", "team-b", "platform"}
    cluster = list(rules(render(), "ClusterRole", "agents-agentservice-operator"))
    assert list(rules(objects, "Role", "agents-agentservice-operator"))[: len(cluster)] == cluster


def test_the_lease_is_granted_by_name(render: Render) -> None:
    (role,) = (item for item in render() if item["kind"] == "Role")

    held = [rule for rule in role["rules"] if "resourceNames" in rule]
    assert [rule["verbs"] for rule in held] == [["get", "update"]]
    assert held[0]["resourceNames"] == ["agents-agentservice-operator"]
    assert role["metadata"]["namespace"] == "platform"


def test_default_roles_get_agent_services_and_can_be_left_alone(render: Render) -> None:
    edit = dict[str, set[str]]()
    for _, resource, verbs in rules(render(), "ClusterRole", "agents-agentservice-operator-edit"):
        edit[resource] = verbs
    without = render({"rbac": {"aggregateToDefaultRoles": False}})

    assert edit["agentservices"] == {"create", "update", "patch", "delete", "deletecollection"}
    assert "agentservices/status" not in edit
    assert [item["metadata"]["name"] for item in without if item["kind"] == "ClusterRole"] == [
        "agents-agentservice-operator"
    ]


def test_rights_can_be_left_to_others(render: Render) -> None:
    assert not [item for item in render({"rbac": {"create": False}}) if "Role" in item["kind"]]
