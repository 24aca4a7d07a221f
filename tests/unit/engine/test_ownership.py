"""The cold skip: what server-side apply has on record for us, read back from a live object."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from agentservice_operator.engine.ownership import digest, owned, owns
from agentservice_operator.engine.ports import Object
from hypothesis import given
from hypothesis import strategies as st

ME = "agentservice-operator"


def live(fields: Object, *others: Object, **body: Any) -> Object:
    """A live object of which we own ``fields`` and others the rest."""
    mine = {"manager": ME, "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": fields}
    theirs = [{**mine, "manager": "kubectl-edit", "operation": "Update", "fieldsV1": other} for other in others]
    metadata = {"name": "hello", "namespace": "default", "managedFields": [*theirs, mine]}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata | body.pop("metadata", {}), **body}


def intent(**body: Any) -> Object:
    identity = {"name": "hello", "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": identity | body.pop("metadata", {}), **body}


def test_fields_of_others_are_left_out() -> None:
    found = live(
        {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:paused": {}}},
        metadata={"labels": {"app": "hello", "theirs": "x"}, "annotations": {"theirs": "x"}, "uid": "1"},
        spec={"paused": False, "replicas": 3},
        status={"replicas": 3},
    )

    assert owned(found, ME) == intent(metadata={"labels": {"app": "hello"}}, spec={"paused": False})


def test_items_of_a_list_are_found_by_their_keys_and_defaulted_keys_are_not_ours() -> None:
    key = 'k:{"containerPort":8080,"protocol":"TCP"}'
    found = live(
        {"f:spec": {"f:ports": {key: {".": {}, "f:containerPort": {}, "f:name": {}}}}},
        spec={
            "ports": [
                {"containerPort": 9090, "protocol": "TCP", "name": "sidecar"},
                {"containerPort": 8080, "protocol": "UDP", "name": "other"},
                {"containerPort": 8080, "protocol": "TCP", "name": "http"},
            ]
        },
    )

    assert owned(found, ME) == intent(spec={"ports": [{"containerPort": 8080, "name": "http"}]})


def test_members_of_a_set_are_found_by_value() -> None:
    found = live({"f:metadata": {"f:finalizers": {'v:"ours"': {}}}}, metadata={"finalizers": ["a/b", "ours", "c/d"]})

    assert owned(found, ME) == intent(metadata={"finalizers": ["ours"]})


def test_atomic_value_is_owned_whole() -> None:
    selector = {"matchLabels": {"app": "hello"}}

    assert owned(live({"f:spec": {"f:selector": {}}}, spec={"selector": selector}), ME) == intent(
        spec={"selector": selector}
    )


def test_empty_map_stays_empty_though_others_fill_it() -> None:
    volume = 'k:{"name":"tmp"}'
    found = live(
        {"f:spec": {"f:volumes": {volume: {".": {}, "f:name": {}, "f:emptyDir": {}}}}},
        {"f:spec": {"f:volumes": {volume: {"f:emptyDir": {"f:sizeLimit": {}}}}}},
        spec={"volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]},
    )

    assert owned(found, ME) == intent(spec={"volumes": [{"name": "tmp", "emptyDir": {}}]})


def test_updates_and_subresources_under_our_name_do_not_count() -> None:
    found = live({}, spec={"replicas": 3}, status={"x": 1})
    found["metadata"]["managedFields"] = [
        {"manager": ME, "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        {
            "manager": ME,
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "subresource": "status",
            "fieldsV1": {"f:status": {"f:x": {}}},
        },
    ]

    assert owned(found, ME) == intent()


def test_record_of_another_version_of_the_api_is_not_read() -> None:
    found = live({"f:spec": {"f:replicas": {}}}, spec={"replicas": 3})
    found["metadata"]["managedFields"][0]["apiVersion"] = "apps/v1beta2"

    assert owned(found, ME) == intent()


def test_object_without_records_is_nobodys() -> None:
    bare = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}

    assert owned(bare, ME) == bare


def test_live_object_is_not_changed() -> None:
    found = live({"f:metadata": {"f:labels": {"f:app": {}}}}, metadata={"labels": {"app": "x"}})
    before = copy.deepcopy(found)

    owned(found, ME)

    assert found == before


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("spec",), True),
        (("spec", "replicas"), True),
        (("spec", "selector", "matchLabels"), True),
        (("spec", "paused"), False),
        (("status",), False),
    ],
)
def test_owns(path: tuple[str, ...], expected: bool) -> None:  # noqa: FBT001 - the expected answer
    found = live({"f:spec": {"f:replicas": {}, "f:selector": {}}}, spec={"replicas": 3, "selector": {}, "paused": True})

    assert owns(found, ME, path) is expected
    assert not owns(found, "somebody-else", path)


def test_digest_ignores_the_order_of_keys_and_what_only_the_server_sets() -> None:
    one = intent(metadata={"labels": {"a": "1", "b": "2"}})
    other = {"metadata": {"labels": {"b": "2", "a": "1"}, "uid": "1", "namespace": "default", "name": "hello"}}

    assert digest(one) == digest({**other, "kind": "Deployment", "apiVersion": "apps/v1"})


def test_digest_minds_the_order_of_lists() -> None:
    assert digest(intent(spec={"args": ["a", "b"]})) != digest(intent(spec={"args": ["b", "a"]}))


# What follows states the rule for objects of any shape. A tree is applied into an object that others have filled: its
# value and its record are worked out here from the definition of server-side apply, not by the code under test.


@dataclass(frozen=True)
class Leaf:
    """A scalar or an atomic value."""

    value: Any


@dataclass(frozen=True)
class Map:
    children: dict[str, Any]
    foreign: dict[str, Any]


@dataclass(frozen=True)
class Items:
    """A list merged by the key ``id``; ``foreign`` items of others stand before and between."""

    children: dict[str, Map]
    foreign: dict[str, Any]


Tree = Leaf | Map | Items

NAMES = st.sampled_from(["a", "b", "c", "f:x", "k", ".", "é"])
FOREIGN_NAMES = st.sampled_from(["x", "y", "z"])
SCALARS = st.one_of(st.booleans(), st.integers(0, 3), st.text(max_size=2))
LEAVES = st.one_of(
    SCALARS, st.lists(SCALARS, min_size=1, max_size=2), st.dictionaries(NAMES, SCALARS, min_size=1, max_size=2)
).map(Leaf)
FOREIGN = st.dictionaries(FOREIGN_NAMES, SCALARS, max_size=2)


def _grow(inner: st.SearchStrategy[Tree]) -> st.SearchStrategy[Tree]:
    maps = st.builds(Map, st.dictionaries(NAMES, inner, min_size=1, max_size=3), FOREIGN)
    return st.one_of(maps, st.builds(Items, st.dictionaries(NAMES, maps, min_size=1, max_size=3), FOREIGN))


TREES = st.builds(
    Map, st.dictionaries(NAMES, st.recursive(LEAVES, _grow, max_leaves=8), min_size=1, max_size=3), FOREIGN
)


def applied(tree: Tree) -> Any:
    match tree:
        case Leaf(value):
            return value
        case Map(children):
            return {name: applied(child) for name, child in children.items()}
        case Items(children):
            return [{"id": key, **applied(child)} for key, child in children.items()]


def stored(tree: Tree) -> Any:
    match tree:
        case Leaf(value):
            return value
        case Map(children, foreign):
            return foreign | {name: stored(child) for name, child in children.items()}
        case Items(children, foreign):
            theirs = [{"id": key, "value": value} for key, value in foreign.items()]
            return theirs + [{"id": key, **stored(child)} for key, child in children.items()]


def recorded(tree: Tree) -> Object:
    match tree:
        case Leaf():
            return {}
        case Map(children):
            return {f"f:{name}": recorded(child) for name, child in children.items()}
        case Items(children):
            keys = {key: "k:" + orjson.dumps({"id": key}).decode() for key in children}
            return {keys[key]: {".": {}, "f:id": {}, **recorded(child)} for key, child in children.items()}


def leaves(value: Any, record: Object) -> list[tuple[Any, Any, Object, str]]:
    """Every owned leaf: the container that holds it, its place there, and its entry in the record."""
    found = []
    for name, below in record.items():
        if name == ".":
            continue
        if name.startswith("k:"):
            key = orjson.loads(name[2:])["id"]
            place: Any = next(index for index, item in enumerate(value) if item["id"] == key)
        else:
            place = name[2:]
        if below:
            found += leaves(value[place], below)
        elif place != "id":
            found.append((value, place, record, name))
    return found


@given(TREES)
def test_what_was_applied_is_read_back_whatever_others_added(tree: Map) -> None:
    found = live({"f:spec": recorded(tree)}, spec=stored(tree))

    assert owned(found, ME) == intent(spec=applied(tree))
    assert digest(owned(found, ME)) == digest(intent(spec=applied(tree)))


@given(TREES, st.data())
def test_any_owned_value_that_changed_was_taken_or_is_gone_is_seen(tree: Map, data: st.DataObject) -> None:
    found = live({"f:spec": recorded(tree)}, spec=stored(tree))
    record = found["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    holder, place, entries, entry = data.draw(st.sampled_from(leaves(found["spec"], record)))

    match data.draw(st.sampled_from(["changed under us", "taken by another", "removed"])):
        case "changed under us":
            holder[place] = "something else"
        case "taken by another":
            holder[place] = "something else"
            del entries[entry]
        case "removed":
            del holder[place]
            del entries[entry]

    assert digest(owned(found, ME)) != digest(intent(spec=applied(tree)))


@pytest.mark.parametrize(
    "name",
    [
        'v:{"a":1}',
        "v:[1]",
        "v:" + "[" * 2000 + "]" * 2000,
        'k:{"name":{"a":1}}',
        'k:{"securityContext":"x"}',
        "v:1e999",
    ],
)
def test_a_record_that_no_server_makes_names_nothing(name: str) -> None:
    found = live(
        {"f:spec": {"f:containers": {name: {}}, "f:args": {name: {}}}},
        spec={"containers": [{"name": "a", "securityContext": {}}], "args": ["a", ["b"]]},
    )

    assert owned(found, ME) == intent(spec={"containers": [], "args": []})
