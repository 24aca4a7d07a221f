"""What the caches believe, and whom they wake."""

from __future__ import annotations

import pytest
from agentservice_operator.engine.cache import Cache, Caches, Child, Service, child_projection, service_projection
from agentservice_operator.engine.kinds import CONFIG_MAP, DEPLOYMENT, POD_MONITOR, ServiceKey
from agentservice_operator.engine.ports import Object
from agentservice_operator.engine.queue import Priority
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine.objects import HELLO, NAMESPACE, OTHER, Woken, agent_service, config_map, deployment


@pytest.fixture
def woken() -> Woken:
    return Woken()


@pytest.fixture
def config_maps(woken: Woken) -> Cache[Child]:
    return Cache(child_projection(CONFIG_MAP), woken)


@pytest.fixture
def deployments(woken: Woken) -> Cache[Child]:
    return Cache(child_projection(DEPLOYMENT), woken)


@pytest.fixture
def services(woken: Woken) -> Cache[Service]:
    return Cache(service_projection, woken)


def take_list(cache: Cache[Child], objects: list[Object], version: str, namespace: str | None) -> None:
    for item in objects:
        cache.put_listed(item)
    cache.end_list({(item["metadata"]["namespace"], item["metadata"]["name"]) for item in objects}, version, namespace)


def version_of(cache: Cache[Child], name: str = "hello-config") -> str | None:
    child = cache.get(NAMESPACE, name)
    return child.resource_version if child else None


def test_an_event_older_than_what_is_known_is_dropped(config_maps: Cache[Child], woken: Woken) -> None:
    config_maps.put(config_map(version=10))
    woken.clear()

    config_maps.put(config_map(version=9, uid="another"))

    assert version_of(config_maps) == "10"
    assert woken == []


def test_versions_are_compared_as_numbers(config_maps: Cache[Child]) -> None:
    config_maps.put(config_map(version=9))

    config_maps.put(config_map(version=10))

    assert version_of(config_maps) == "10"


def test_the_echo_of_an_own_write_wakes_nobody(config_maps: Cache[Child], woken: Woken) -> None:
    config_maps.put_own(config_map(version=10))

    config_maps.put(config_map(version=10))

    assert woken == []


def test_a_foreign_change_after_an_own_write_wakes(deployments: Cache[Child], woken: Woken) -> None:
    deployments.put_own(deployment(version=10))

    deployments.put(deployment(version=11, status={"replicas": 1}))

    assert woken == [(HELLO, Priority.CHANGE)]


def test_a_change_of_nothing_that_matters_wakes_nobody(deployments: Cache[Child], woken: Woken) -> None:
    deployments.put(deployment(version=10))
    woken.clear()

    deployments.put(deployment(version=11, annotations={"example.com/touched": "yes"}))

    assert version_of(deployments, "hello") == "11"
    assert woken == []


@pytest.mark.parametrize(
    "changed",
    [
        {"generation": 2},
        {"annotations": {"agentservice.dev/paused": "true"}},
        {"status": {"replicas": 1}},
        {"uid": "made-again"},
        {"deletionTimestamp": "2026-11-21T00:00:00Z"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_matters_of_an_agent_service_wakes(services: Cache[Service], woken: Woken, changed: Object) -> None:
    services.put(agent_service(version=10))
    woken.clear()

    services.put(agent_service(version=11, **changed))

    assert woken.keys() == [HELLO]


@pytest.mark.parametrize(
    "changed",
    [{"labels": {"team": "a"}}, {"annotations": {"example.com/looked-at": "yes"}}],
    ids=["label", "annotation"],
)
def test_what_means_nothing_on_an_agent_service_wakes_nobody_and_is_remembered(
    services: Cache[Service], woken: Woken, changed: Object
) -> None:
    services.put(agent_service(version=10))
    woken.clear()

    services.put(agent_service(version=11, **changed))

    known = services.get(*HELLO)
    assert known is not None
    assert changed.items() <= known.raw["metadata"].items()
    assert woken == []


def test_a_deletion_forgets_and_wakes(config_maps: Cache[Child], woken: Woken) -> None:
    config_maps.put(config_map(version=10))
    woken.clear()

    config_maps.remove(config_map(version=11))

    assert version_of(config_maps) is None
    assert config_maps.of(HELLO) == []
    assert woken == [(HELLO, Priority.CHANGE)]


def test_a_deletion_older_than_a_re_creation_is_dropped(config_maps: Cache[Child], woken: Woken) -> None:
    config_maps.put_own(config_map(version=12, uid="made-again"))

    config_maps.remove(config_map(version=11))

    assert version_of(config_maps) == "12"
    assert woken == []


def test_the_answer_to_a_write_that_a_deletion_overtook_does_not_bring_the_child_back(
    config_maps: Cache[Child],
) -> None:
    config_maps.put(config_map(version=10))
    config_maps.remove(config_map(version=12))  # the watch was faster than the answer to the write of version 11

    config_maps.put_own(config_map(version=11))

    assert version_of(config_maps) is None


def test_a_child_made_again_after_a_deletion_is_believed(config_maps: Cache[Child]) -> None:
    config_maps.put(config_map(version=10))
    config_maps.remove(config_map(version=11))

    config_maps.put(config_map(version=12, uid="made-again"))

    assert version_of(config_maps) == "12"


def test_deletions_without_end_cost_no_memory_without_end(config_maps: Cache[Child]) -> None:
    for number in range(5000):
        config_maps.put(config_map(f"config-{number}", version=2 * number + 1))
        config_maps.remove(config_map(f"config-{number}", version=2 * number + 2))

    assert sum(len(part) for part in vars(config_maps).values() if isinstance(part, dict)) < 2000


def test_a_list_wakes_with_less_priority_than_changes(config_maps: Cache[Child], woken: Woken) -> None:
    config_maps.put_listed(config_map(version=5))
    config_maps.put(config_map(version=6, uid="made-again"))

    assert woken == [(HELLO, Priority.STARTUP), (HELLO, Priority.CHANGE)]


def test_a_list_heals_a_missed_deletion(config_maps: Cache[Child], woken: Woken) -> None:
    take_list(config_maps, [config_map("kept"), config_map("lost")], "10", None)
    woken.clear()

    take_list(config_maps, [config_map("kept")], "20", None)

    assert version_of(config_maps, "lost") is None
    assert version_of(config_maps, "kept") == "10"
    assert woken == [(HELLO, Priority.CHANGE)]


def test_a_list_heals_a_missed_change(config_maps: Cache[Child], woken: Woken) -> None:
    take_list(config_maps, [config_map(version=10)], "10", None)
    woken.clear()

    take_list(config_maps, [config_map(version=15, uid="made-again")], "20", None)

    assert version_of(config_maps) == "15"
    assert woken.keys() == [HELLO]


def test_a_list_spares_what_is_newer_than_it(config_maps: Cache[Child], woken: Woken) -> None:
    config_maps.put_own(config_map(version=30))

    take_list(config_maps, [], "20", None)

    assert version_of(config_maps) == "30"
    assert woken == []


def test_a_list_of_one_namespace_says_nothing_about_others(config_maps: Cache[Child]) -> None:
    config_maps.put(config_map(version=5, namespace="team-b"))

    take_list(config_maps, [], "20", NAMESPACE)

    assert config_maps.get("team-b", "hello-config") is not None


def test_a_changed_label_moves_an_entry_and_wakes_both(config_maps: Cache[Child], woken: Woken) -> None:
    config_maps.put(config_map(version=10))
    woken.clear()

    config_maps.put(config_map(version=11, service="other"))

    assert config_maps.of(HELLO) == []
    assert [child.name for child in config_maps.of(OTHER)] == ["hello-config"]
    assert sorted(woken.keys()) == [HELLO, OTHER]
    assert set(config_maps._by_service) == {OTHER}


def test_what_was_read_to_be_gone_is_forgotten(config_maps: Cache[Child]) -> None:
    config_maps.put(config_map())

    config_maps.forget(NAMESPACE, "hello-config")
    config_maps.forget(NAMESPACE, "never-known")

    assert version_of(config_maps) is None
    assert config_maps._by_service == {}


NAMES = st.sampled_from(["a", "b", "c"])
EVENTS = st.lists(st.tuples(st.sampled_from(["write", "delete", "miss"]), NAMES, st.sampled_from(["hello", "other"])))


@given(events=EVENTS, data=st.data())
def test_after_a_list_the_cache_equals_the_cluster_whatever_was_missed(
    events: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    """A cluster changes, some events get lost, some come twice or late; the next list puts everything right."""
    cache = Cache(child_projection(CONFIG_MAP), Woken())
    cluster: dict[str, Object] = {}
    version = 0
    seen: list[Object] = []
    for what, name, service in events:
        version += 1
        if what == "delete" and name in cluster:
            gone = {"metadata": {**cluster.pop(name)["metadata"], "resourceVersion": str(version)}}
            if data.draw(st.booleans(), label="deletion seen"):
                cache.remove(gone)
        elif what != "delete":
            cluster[name] = config_map(name, version, service=service)
            seen.append(cluster[name])
            if what == "write":
                cache.put(cluster[name])
        again = data.draw(st.none() | st.integers(min_value=0), label="an old event again")
        if seen and again is not None:
            cache.put(seen[again % len(seen)])

    take_list(cache, list(cluster.values()), str(version), None)

    assert {child.name: child.resource_version for child in cache} == {
        name: item["metadata"]["resourceVersion"] for name, item in cluster.items()
    }
    for key in (HELLO, OTHER):
        named = {name for name, item in cluster.items() if owner_of(item) == key}
        assert {child.name for child in cache.of(key)} == named


def owner_of(item: Object) -> ServiceKey:
    return ServiceKey(NAMESPACE, item["metadata"]["labels"]["agentservice.dev/service"])


def test_the_answer_to_an_own_write_is_what_was_answered(config_maps: Cache[Child]) -> None:
    """Not what overtook it: somebody else's edit must not pass for what came of our intent."""
    config_maps.put(config_map(version=30, uid="edited"))

    assert config_maps.put_own(config_map(version=20, uid="answered")).uid == "answered"
    assert version_of(config_maps) == "30"


def test_the_answer_to_a_write_that_a_list_overtook_does_not_bring_the_child_back(config_maps: Cache[Child]) -> None:
    config_maps.put(config_map(version=10))
    take_list(config_maps, [], "20", None)

    config_maps.put_own(config_map(version=15))

    assert version_of(config_maps) is None


def test_an_object_that_cannot_be_read_hides_no_other(config_maps: Cache[Child]) -> None:
    odd = config_map(name="odd", version=4)
    del odd["metadata"]["uid"]

    take_list(config_maps, [odd, config_map(version=5)], "9", None)
    config_maps.put(odd)

    assert config_maps.get(NAMESPACE, "odd") is None
    assert version_of(config_maps) == "5"


def test_what_was_known_of_an_object_that_cannot_be_read_any_more_is_forgotten(config_maps: Cache[Child]) -> None:
    config_maps.put(config_map(version=4))
    odd = config_map(version=5)
    del odd["metadata"]["uid"]

    config_maps.put(odd)

    assert config_maps.get(NAMESPACE, "hello-config") is None


def test_an_optional_kind_that_comes_or_goes_wakes_everybody_once() -> None:
    woken = Woken()
    caches = Caches([], woken)
    caches.services.put(agent_service())
    woken.clear()

    caches.set_served(POD_MONITOR, served=True)
    caches.set_served(POD_MONITOR, served=True)

    assert caches.served == {"PodMonitor"}
    assert woken == [(HELLO, Priority.STARTUP)]

    woken.clear()
    caches.set_served(POD_MONITOR, served=False)

    assert caches.served == frozenset()
    assert woken == [(HELLO, Priority.STARTUP)]
