"""Looking up what specs refer to: how often, what is remembered, who is woken."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.api.v1alpha1.parse import parse
from agentservice_operator.api.v1alpha1.types import MAX_PROMPT_CHARACTERS, AgentService
from agentservice_operator.builders.trust_bundle import MAX_TRUST_BUNDLE_BYTES
from agentservice_operator.engine.kinds import CONFIG_MAP, SECRET, SERVICE_ACCOUNT, ServiceKey
from agentservice_operator.engine.ports import KubernetesError, Object
from agentservice_operator.engine.references import References
from hypothesis import given
from hypothesis import strategies as st

from tests.authority import authority_pem
from tests.unit.engine.clock import Clock
from tests.unit.engine.fake_kubernetes import FakeKubernetes
from tests.unit.engine.objects import HELLO, NAMESPACE, Woken, agent_service

LATEST_BY_SECONDS = 120.0
"""Promised: a lost Secret shows by then."""
LATE_BY = 1.1
"""The controller spreads the times at which keys come back by so much."""


class Library:
    """References with everything around them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.kubernetes = FakeKubernetes()
        self.woken = Woken()
        self.references = References(self.kubernetes, self.woken, self.clock)


@pytest.fixture
def library() -> Library:
    return Library()


def with_secret(name: str = "anthropic", key: str = "api-key", **metadata: Any) -> AgentService:
    credentials = {"secretKeyRef": {"name": name, "key": key}}
    model = {"name": "main", "provider": "Anthropic", "anthropic": {"model": "m", "credentials": credentials}}
    return parse(agent_service(spec={"models": [model]}, **metadata))


def with_prompt(key: str = "clerk", **metadata: Any) -> AgentService:
    source = {"configMapKeyRef": {"name": "prompts", "key": key}}
    return parse(agent_service(spec={"agents": [{"name": "assistant", "systemPromptFrom": source}]}, **metadata))


def secret(*managed: Object, name: str = "anthropic") -> Object:
    """A Secret whose keys only its field managers tell."""
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "managedFields": [{"fieldsV1": fields} for fields in managed],
        },
        "data": {"api-key": "bm90LWEtcmVhbC1rZXk="},
    }


def prompts(version: int, text: str | None = "You are a clerk.") -> Object:
    data = {} if text is None else {"clerk": text}
    return {
        "metadata": {"namespace": NAMESPACE, "name": "prompts", "resourceVersion": str(version)},
        "data": data,
    }


HELD: Object = {"f:data": {".": {}, "f:api-key": {}}, "f:type": {}}


async def test_a_spec_without_references_asks_nothing_and_need_not_be_looked_at_again(library: Library) -> None:
    resolved = await library.references.resolve(parse(agent_service()))

    assert not resolved.any
    assert resolved.problems == ()
    assert resolved.look_again_after is None
    assert library.kubernetes.calls == []


async def test_a_missing_secret_is_named_with_its_purpose(library: Library) -> None:
    resolved = await library.references.resolve(with_secret())

    (problem,) = resolved.problems
    assert problem.reason is Reason.REFERENCE_NOT_FOUND
    assert "Secret anthropic does not exist" in problem.message
    assert "the credentials of model main" in problem.message
    assert not problem.terminal


async def test_a_missing_key_is_named(library: Library) -> None:
    library.kubernetes.hold(SECRET, secret({"f:data": {"f:other": {}}}))

    (problem,) = (await library.references.resolve(with_secret())).problems

    assert "Secret anthropic has no key api-key" in problem.message


@pytest.mark.parametrize(
    "managed",
    [
        [HELD],
        [{"f:metadata": {"f:labels": {}}}, HELD],
        [{"f:data": {"f:other": {}}}, HELD],
        [{"f:data": {"f:other": {}}}, {"f:stringData": {"f:api-key": {}}}],
    ],
    ids=["by its manager", "beside managers of other fields", "beside other keys", "applied as stringData"],
)
async def test_a_key_is_found(library: Library, managed: list[Object]) -> None:
    library.kubernetes.hold(SECRET, secret(*managed))

    assert (await library.references.resolve(with_secret())).problems == ()


async def test_a_secret_of_which_nobody_tells_the_keys_is_taken_for_whole(library: Library) -> None:
    """Field managers may have been cleared; the kubelet says what is missing then."""
    library.kubernetes.hold(SECRET, secret())

    assert (await library.references.resolve(with_secret())).problems == ()


@pytest.mark.parametrize(("client", "says"), [(None, None), ("api-key", None), ("web", "has no key web; it is needed")])
async def test_a_client_without_a_key_is_named(library: Library, client: str | None, says: str | None) -> None:
    access: Object = {"apiKeys": {"source": "Secret", "secretRef": {"name": "anthropic"}}}
    access |= {"clients": [{"name": client}]} if client else {}
    library.kubernetes.hold(SECRET, secret(HELD))

    resolved = await library.references.resolve(parse(agent_service(spec={"access": access})))
    assert [says in problem.message for problem in resolved.problems if says] == [True] * len(resolved.problems)
    assert (len(resolved.problems), resolved.any) == (int(says is not None), True)


async def test_of_secrets_only_metadata_is_read(library: Library) -> None:
    library.kubernetes.hold(SECRET, secret(HELD))

    await library.references.resolve(with_secret())

    assert library.kubernetes.verbs() == ["get_metadata"]


async def test_a_burst_of_reconciles_asks_once(library: Library) -> None:
    library.kubernetes.hold(SECRET, secret(HELD))

    for _ in range(10):
        await library.references.resolve(with_secret())
        library.clock.now += 1.0

    assert len(library.kubernetes.calls) == 1


async def test_a_missing_secret_is_asked_for_every_few_seconds(library: Library) -> None:
    resolved = await library.references.resolve(with_secret())
    assert resolved.look_again_after is not None
    assert resolved.look_again_after <= 5.0

    library.kubernetes.hold(SECRET, secret(HELD))
    library.clock.now += resolved.look_again_after

    assert (await library.references.resolve(with_secret())).problems == ()


@given(events=st.lists(st.floats(min_value=0.1, max_value=200.0), max_size=20))
async def test_a_lost_secret_shows_in_time_whenever_other_events_come(events: list[float]) -> None:
    library = Library()
    library.kubernetes.hold(SECRET, secret(HELD))
    looked = [library.clock.now]
    pending = sorted(library.clock.now + sum(events[: index + 1]) for index in range(len(events)))
    due = library.clock.now
    while library.clock.now < 1600.0:
        library.clock.now = pending.pop(0) if pending and pending[0] < due else due
        resolved = await library.references.resolve(with_secret())
        assert resolved.look_again_after is not None
        due = library.clock.now + resolved.look_again_after * LATE_BY
        if library.kubernetes.verbs():
            looked.append(library.clock.now)

    gaps = [later - earlier for earlier, later in pairwise(looked)]
    assert max(gaps) <= LATEST_BY_SECONDS


async def test_the_value_of_a_config_map_is_read_once(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, prompts(5))

    for _ in range(3):
        resolved = await library.references.resolve(with_prompt())
        assert resolved.values == {("prompts", "clerk"): "You are a clerk."}

    assert library.kubernetes.verbs() == ["get"]
    assert resolved.look_again_after is None


async def test_a_changed_config_map_wakes_who_uses_it_and_is_read_again(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, prompts(5))
    await library.references.resolve(with_prompt())

    library.references.put(library.kubernetes.hold(CONFIG_MAP, prompts(6, "You are a judge.")))

    assert library.woken.keys() == [HELLO]
    resolved = await library.references.resolve(with_prompt())
    assert resolved.values == {("prompts", "clerk"): "You are a judge."}


async def test_an_old_event_of_a_config_map_wakes_nobody(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, prompts(5))
    await library.references.resolve(with_prompt())

    library.references.put(prompts(5))
    library.references.put_listed(prompts(4))

    assert library.woken == []


async def test_a_config_map_that_nobody_uses_wakes_nobody_and_is_not_remembered(library: Library) -> None:
    library.references.put(prompts(5))
    library.references.remove(prompts(6))

    assert library.woken == []
    assert remembered(library.references) == 0


async def test_a_config_map_that_appears_wakes_who_waits_for_it(library: Library) -> None:
    assert (await library.references.resolve(with_prompt())).problems

    library.references.put(library.kubernetes.hold(CONFIG_MAP, prompts(5)))

    assert library.woken.keys() == [HELLO]
    assert (await library.references.resolve(with_prompt())).problems == ()


async def test_a_config_map_that_vanishes_is_missed(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, prompts(5))
    await library.references.resolve(with_prompt())

    library.kubernetes.lose(CONFIG_MAP, NAMESPACE, "prompts")
    library.references.remove(prompts(6))

    assert library.woken.keys() == [HELLO]
    (problem,) = (await library.references.resolve(with_prompt())).problems
    assert "ConfigMap prompts does not exist" in problem.message


async def test_a_list_heals_missed_events_of_config_maps(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, prompts(5))
    await library.references.resolve(with_prompt())

    library.references.end_list(set(), "4", None)
    library.references.end_list(set(), "9", "team-b")
    assert library.woken.keys() == [], "an older list, or one of another namespace, says nothing"
    library.references.end_list(set(), "9", None)
    assert library.woken.keys() == [HELLO]


async def test_a_missing_key_of_a_config_map_is_named(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, prompts(5, None))

    resolved = await library.references.resolve(with_prompt())

    assert "ConfigMap prompts has no key clerk" in resolved.problems[0].message
    assert resolved.values == {("prompts", "clerk"): ""}


async def test_a_prompt_that_is_too_long_is_refused_with_its_place_and_not_kept(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, prompts(5, "x" * (MAX_PROMPT_CHARACTERS + 500)))

    resolved = await library.references.resolve(with_prompt())

    (problem,) = resolved.problems
    assert problem.terminal
    assert "ConfigMap prompts has more than 32768 characters under clerk" in problem.message
    assert len(resolved.values["prompts", "clerk"]) <= MAX_PROMPT_CHARACTERS + 1


async def test_a_key_that_another_agent_service_uses_is_read_when_it_is_asked_for(library: Library) -> None:
    both = prompts(5)
    both["data"]["judge"] = "You are a judge."
    library.kubernetes.hold(CONFIG_MAP, both)
    await library.references.resolve(with_prompt("clerk"))

    resolved = await library.references.resolve(with_prompt("judge", name="other"))

    assert resolved.values == {("prompts", "judge"): "You are a judge."}
    assert resolved.problems == ()


@pytest.mark.parametrize("change", ["put", "remove"])
async def test_a_change_during_the_read_is_not_lost(library: Library, change: str) -> None:
    """The watch may be faster than the answer to a read that began before the change."""
    library.kubernetes.hold(CONFIG_MAP, prompts(5))

    def overtake() -> None:
        library.kubernetes.before_answer = lambda: None
        if change == "put":
            library.references.put(library.kubernetes.hold(CONFIG_MAP, prompts(6, "You are a judge.")))
        else:
            library.kubernetes.lose(CONFIG_MAP, NAMESPACE, "prompts")
            library.references.remove(prompts(6))

    library.kubernetes.before_answer = overtake
    await library.references.resolve(with_prompt())

    assert library.woken.keys() == [HELLO]
    resolved = await library.references.resolve(with_prompt())
    assert resolved.values == {("prompts", "clerk"): "You are a judge." if change == "put" else ""}
    assert library.woken.keys() == [], "one change wakes once"


async def test_what_a_deleted_agent_service_used_costs_no_memory(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, prompts(5))
    await library.references.resolve(with_prompt())
    library.references.put(prompts(6))
    await library.references.resolve(with_secret(name="other"))

    library.references.forget(HELLO)
    library.references.forget(ServiceKey(NAMESPACE, "other"))

    assert remembered(library.references) == 0


async def test_what_a_spec_no_longer_uses_is_forgotten(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, prompts(5))
    await library.references.resolve(with_prompt())

    await library.references.resolve(parse(agent_service()))
    library.references.put(prompts(6))

    assert library.woken == []
    assert remembered(library.references) == 0


async def test_what_another_still_uses_is_kept(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, prompts(5))
    await library.references.resolve(with_prompt())
    await library.references.resolve(with_prompt(name="other"))

    library.references.forget(HELLO)
    library.references.put(prompts(6))

    assert library.woken.keys() == [ServiceKey(NAMESPACE, "other")]


async def test_an_api_server_that_does_not_answer_is_no_missing_secret(library: Library) -> None:
    library.kubernetes.refuses = KubernetesError("unavailable", status=503)

    with pytest.raises(KubernetesError):
        await library.references.resolve(with_secret())


def remembered(references: References) -> int:
    return sum(len(part) for part in vars(references).values() if isinstance(part, dict))


async def test_a_missing_service_account_is_named_and_asked_for_until_it_is_there(library: Library) -> None:
    service = parse(agent_service(spec={"runtime": {"serviceAccount": {"name": "cloud"}}}))

    resolved = await library.references.resolve(service)

    (problem,) = resolved.problems
    assert problem.reason is Reason.REFERENCE_NOT_FOUND
    assert "ServiceAccount cloud does not exist" in problem.message
    assert resolved.look_again_after is not None
    library.kubernetes.hold(SERVICE_ACCOUNT, {"metadata": {"namespace": NAMESPACE, "name": "cloud"}})
    library.clock.now += resolved.look_again_after
    resolved = await library.references.resolve(service)
    assert (resolved.problems, resolved.any) == ((), True)
    assert resolved.look_again_after is not None
    assert resolved.look_again_after * LATE_BY <= LATEST_BY_SECONDS


async def test_a_secret_and_a_service_account_of_one_name_are_two_things(library: Library) -> None:
    library.kubernetes.hold(SECRET, secret(HELD))
    spec = with_secret().spec.model_dump(by_alias=True, exclude_unset=True)
    service = parse(agent_service(spec={**spec, "runtime": {"serviceAccount": {"name": "anthropic"}}}))

    for _ in range(2):  # as asked for, and as remembered
        (problem,) = (await library.references.resolve(service)).problems
        assert "ServiceAccount anthropic does not exist" in problem.message


def with_trust_bundle() -> AgentService:
    source = {"configMapKeyRef": {"name": "corp", "key": "ca.crt"}}
    return parse(agent_service(spec={"runtime": {"trustBundle": source}}))


def bundle(version: int, pem: str) -> Object:
    metadata = {"namespace": NAMESPACE, "name": "corp", "resourceVersion": str(version)}
    return {"metadata": metadata, "data": {"ca.crt": pem}}


async def test_of_a_trust_bundle_a_digest_is_kept_and_a_change_wakes_who_uses_it(library: Library) -> None:
    library.kubernetes.hold(CONFIG_MAP, bundle(1, authority_pem()))
    before = await library.references.resolve(with_trust_bundle())

    changed = bundle(2, authority_pem())
    library.kubernetes.hold(CONFIG_MAP, changed)
    library.references.put(changed)
    after = await library.references.resolve(with_trust_bundle())

    assert before.problems == after.problems == ()
    assert before.any
    assert library.woken.keys() == [HELLO]
    assert len({*before.trust_bundles.values(), *after.trust_bundles.values()}) == 2
    assert all(len(digest) == 10 for digest in after.trust_bundles.values())


async def test_a_missing_trust_bundle_is_named(library: Library) -> None:
    (problem,) = (await library.references.resolve(with_trust_bundle())).problems

    assert problem.reason is Reason.REFERENCE_NOT_FOUND
    assert "ConfigMap corp does not exist; it is needed for the trust bundle" in problem.message


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        ("", "has no certificates in PEM, or broken ones"),
        ("-----BEGIN CERTIFICATE-----", "has no certificates in PEM, or broken ones"),
        (authority_pem() + authority_pem()[:200], "has no certificates in PEM, or broken ones"),
        (authority_pem() + "é", "has other letters than those of PEM"),
        (authority_pem() * (MAX_TRUST_BUNDLE_BYTES // 400), "has more than 524288 bytes"),
    ],
    ids=["empty", "only begun", "cut", "other letters", "too large"],
)
async def test_a_trust_bundle_with_which_no_pod_could_start_is_named_before_any_does(
    library: Library, pem: str, said: str
) -> None:
    library.kubernetes.hold(CONFIG_MAP, bundle(1, pem))

    (problem,) = (await library.references.resolve(with_trust_bundle())).problems

    assert (problem.reason, problem.terminal) == (Reason.INVALID_SPEC, True)
    assert f"ConfigMap corp: what stands under ca.crt {said}" in problem.message


async def test_a_key_may_be_a_text_and_a_trust_bundle_at_once(library: Library) -> None:
    pem = authority_pem()
    library.kubernetes.hold(CONFIG_MAP, bundle(1, pem))
    reference = {"configMapKeyRef": {"name": "corp", "key": "ca.crt"}}
    runtime = {"trustBundle": reference, "env": [{"name": "CA", "valueFrom": reference}]}

    resolved = await library.references.resolve(parse(agent_service(spec={"runtime": runtime})))

    assert resolved.values == {("corp", "ca.crt"): pem}
    assert resolved.trust_bundles != resolved.values
