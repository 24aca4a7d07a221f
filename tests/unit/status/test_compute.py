"""The status of an AgentService, rule by rule of the API's contract."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.status.compute import Status, compute, reason_of
from agentservice_operator.status.observed import AutoscalerFacts
from agentservice_operator.status.problems import Problem
from agentservice_operator.status.situation import Paused, Situation

from tests.unit.status.kstatus import Judgement, judge
from tests.unit.status.observations import NEW, NOW, OLD, condition, deployment, pod, situation, spec, states

MISSING = Problem(Reason.REFERENCE_NOT_FOUND, "Secret anthropic does not exist; create it.")
CONFLICT = Problem(Reason.NAME_CONFLICT, "A Service named hello exists; rename it.", terminal=True)


def status_of(case: Situation) -> Status:
    return compute(case).status


def kstatus_of(case: Situation, status: Status) -> Judgement:
    return judge({"metadata": {"generation": case.generation}, "status": status})


def ready_before(revision: str = NEW) -> Status:
    return status_of(situation(deployment(1, revision=revision), revision=revision))


def test_a_fresh_service_is_being_made() -> None:
    case = situation(None)
    status = status_of(case)

    assert states(status) == {"Ready": "False", "Reconciling": "True"}
    assert reason_of(status) == Reason.PROGRESSING
    assert kstatus_of(case, status) == Judgement.IN_PROGRESS


def test_it_is_ready_when_the_revision_serves_and_says_only_that() -> None:
    case = situation(deployment(2), spec=spec(replicas=1))
    status = status_of(case)

    assert states(status) == {"Ready": "True"}
    assert reason_of(status) == Reason.AVAILABLE
    assert kstatus_of(case, status) == Judgement.CURRENT


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (situation(deployment(2, 1, updated_replicas=1, replicas=3)), Reason.ROLLING_OUT),
        (situation(deployment(3, 1)), Reason.PROGRESSING),
        (situation(deployment(1, generation=2)), Reason.PROGRESSING),
        (situation(deployment(1, revision=OLD)), Reason.PROGRESSING),
        (situation(deployment(1, 0), [pod(unschedulable="0/1 nodes are available")]), Reason.UNSCHEDULABLE),
        (situation(deployment(1, 0), [pod(waiting_reason="ImagePullBackOff")]), Reason.IMAGE_PULL_FAILED),
        (situation(deployment(1, 0), [pod(waiting_reason="CrashLoopBackOff", exit_code=1)]), Reason.CRASH_LOOPING),
        (situation(deployment(1, 0), problems=[MISSING]), Reason.REFERENCE_NOT_FOUND),
        (situation(deployment(0, replicas=2)), Reason.PROGRESSING),
    ],
    ids=lambda case: case.value if isinstance(case, Reason) else "",
)
def test_what_still_moves_is_reconciling(case: Situation, reason: Reason) -> None:
    status = status_of(case)

    assert reason_of(status) == reason
    assert states(status)["Ready"] == "False"
    assert states(status)["Reconciling"] == "True"
    assert "Stalled" not in states(status)
    assert condition(status, "Reconciling")["reason"] == reason
    assert kstatus_of(case, status) == Judgement.IN_PROGRESS


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (situation(problems=[CONFLICT]), Reason.NAME_CONFLICT),
        (situation(spec=None, problems=[Problem(Reason.INVALID_SPEC, "no", terminal=True)]), Reason.INVALID_SPEC),
        (situation(problems=[Problem(Reason.CHILD_REJECTED, "no", terminal=True)]), Reason.CHILD_REJECTED),
        (situation(deployment(1, 0, deadline_exceeded=True)), Reason.PROGRESS_DEADLINE_EXCEEDED),
        (
            situation(deployment(1, 0, deadline_exceeded=True), [pod(waiting_reason="ErrImagePull")]),
            Reason.IMAGE_PULL_FAILED,
        ),
    ],
    ids=lambda case: case.value if isinstance(case, Reason) else "",
)
def test_what_only_a_person_can_mend_is_stalled_at_once(case: Situation, reason: Reason) -> None:
    status = status_of(case)

    assert reason_of(status) == reason
    assert states(status)["Stalled"] == "True"
    assert "Reconciling" not in states(status)
    assert compute(case).look_again_after is None
    assert kstatus_of(case, status) == Judgement.FAILED


def test_a_problem_that_lasts_for_the_progress_deadline_is_a_stall() -> None:
    case = situation(problems=[MISSING], spec=spec(runtime={"rollout": {"progressDeadlineSeconds": 60}}))
    first = compute(case)
    assert first.look_again_after == 60.0

    waiting = compute(replace(case, previous=first.status, now=NOW + timedelta(seconds=59)))
    assert states(waiting.status)["Reconciling"] == "True"
    assert waiting.look_again_after == 1.0

    stalled = compute(replace(case, previous=waiting.status, now=NOW + timedelta(seconds=60)))
    assert states(stalled.status)["Stalled"] == "True"
    assert stalled.look_again_after is None


def test_a_stall_lasts_as_long_as_the_problem_and_ends_with_it() -> None:
    case = situation(problems=[MISSING])
    first = status_of(case)
    stalled = status_of(replace(case, previous=first, now=NOW + timedelta(seconds=300)))

    later = status_of(replace(case, previous=stalled, now=NOW + timedelta(seconds=900)))
    assert states(later)["Stalled"] == "True"

    mended = status_of(replace(case, previous=later, problems=(), deployment=deployment(1)))
    assert states(mended) == {"Ready": "True"}


def test_a_problem_late_in_a_long_rollout_is_given_its_own_time() -> None:
    rollout = situation(deployment(3, 1), [pod()])
    under_way = status_of(rollout)

    crashed = replace(
        rollout,
        pods=[pod(waiting_reason="CrashLoopBackOff", exit_code=1, restarts=1)],
        previous=under_way,
        now=NOW + timedelta(seconds=1200),
    )

    assert states(status_of(crashed)).get("Stalled") is None


def test_an_edit_while_a_problem_lasts_is_given_time_again() -> None:
    case = situation(deployment(1, 0), [pod(waiting_reason="ErrImagePull")])
    first = compute(case)

    edited = compute(
        replace(case, previous=first.status, trouble=first.trouble, generation=2, now=NOW + timedelta(seconds=250))
    )

    assert edited.look_again_after == 300


def test_an_edit_after_a_stall_is_given_time_again() -> None:
    case = situation(problems=[MISSING])
    stalled = status_of(replace(case, previous=status_of(case), now=NOW + timedelta(seconds=300)))

    edited = compute(replace(case, previous=stalled, generation=2, now=NOW + timedelta(seconds=301)))

    assert states(edited.status)["Reconciling"] == "True"
    assert edited.look_again_after == 300.0


def test_everything_speaks_of_the_generation_that_it_observed() -> None:
    status = status_of(situation(deployment(1), generation=7))

    assert status["observedGeneration"] == 7
    assert {entry["observedGeneration"] for entry in status["conditions"]} == {7}


def test_the_time_of_a_condition_moves_only_when_its_status_does() -> None:
    first = status_of(situation(deployment(2, 0)))
    later = NOW + timedelta(seconds=30)

    other_reason = status_of(
        situation(deployment(2, 0), [pod(waiting_reason="ErrImagePull")], previous=first, now=later)
    )
    assert condition(other_reason, "Ready")["reason"] != condition(first, "Ready")["reason"]
    assert condition(other_reason, "Ready")["lastTransitionTime"] == "2026-11-21T12:00:00Z"

    ready = status_of(situation(deployment(2), previous=other_reason, now=later))
    assert condition(ready, "Ready")["lastTransitionTime"] == "2026-11-21T12:00:30Z"


def test_the_same_observation_gives_the_same_status_at_any_time() -> None:
    """At rest nothing is written."""
    case = situation(deployment(2), has_references=True)
    first = status_of(case)

    again = status_of(replace(case, previous=first, now=NOW + timedelta(days=3)))

    assert again == first


def test_the_addresses_and_selector_that_scale_and_users_read() -> None:
    status = status_of(situation(deployment(3, 2)))

    assert status["replicas"] == 3
    assert status["readyReplicas"] == 2
    assert status["selector"] == "agentservice.dev/service=hello,app.kubernetes.io/component=server"
    assert status["address"] == {"url": "http://hello.team-a.svc"}


def test_a_port_of_its_own_is_in_the_address() -> None:
    status = status_of(situation(deployment(1), spec=spec(exposure={"service": {"port": 8443}})))

    assert status["address"] == {"url": "http://hello.team-a.svc:8443"}


def test_a_spec_that_cannot_be_understood_keeps_what_was_known() -> None:
    before = ready_before(OLD)
    broken = situation(spec=None, revision=None, problems=[Problem(Reason.INVALID_SPEC, "no", terminal=True)])

    status = status_of(replace(broken, previous=before, deployment=deployment(1, revision=OLD)))

    assert status["address"] == before["address"]
    assert status["currentRevision"] == OLD
    assert status["readyReplicas"] == 1


class TestRevisions:
    """currentRevision serves, updateRevision is on its way."""

    def test_during_a_rollout_both_are_told(self) -> None:
        rolling = deployment(2, 2, updated_replicas=1, replicas=3)
        status = status_of(situation(rolling, previous=ready_before(OLD)))

        assert (status["currentRevision"], status["updateRevision"]) == (OLD, NEW)

    def test_afterwards_they_are_the_same(self) -> None:
        status = status_of(situation(deployment(2), previous=ready_before(OLD)))

        assert (status["currentRevision"], status["updateRevision"]) == (NEW, NEW)

    def test_the_first_revision_is_current_only_once_it_serves(self) -> None:
        assert "currentRevision" not in status_of(situation(deployment(2, 0)))

    def test_back_to_the_serving_revision_is_a_rollout_too_while_other_pods_remain(self) -> None:
        back = deployment(2, 2, updated_replicas=2, replicas=3)
        status = status_of(situation(back, previous=ready_before(NEW)))

        assert reason_of(status) == Reason.ROLLING_OUT


class TestServing:
    """Ready: fully updated, and as many pods available as the disruption budget asks for, at least one."""

    @pytest.mark.parametrize(
        ("wanted", "available", "ready"),
        [(1, 1, "True"), (1, 0, "False"), (2, 1, "True"), (5, 4, "True"), (5, 3, "False"), (5, 0, "False")],
    )
    def test_of_a_new_revision(self, wanted: int, available: int, ready: str) -> None:
        assert states(status_of(situation(deployment(wanted, available))))["Ready"] == ready

    @pytest.mark.parametrize(
        ("missing", "wanted", "needed"),
        [(1, 1, 1), (2, 5, 3), (9, 5, 1), ("20%", 5, 4), ("21%", 5, 3), ("1%", 2, 1), ("1%", 1, 1), ("100%", 5, 1)],
    )
    def test_disruption_says_how_many_pods_may_be_missing(self, missing: int | str, wanted: int, needed: int) -> None:
        asked = spec(disruption={"maxUnavailable": missing})

        def ready(available: int, revision: str) -> str:
            facts = deployment(wanted, available)
            pods = [pod(f"pod-{n}", ready=n < available, lost_readiness=n >= available) for n in range(wanted)]
            case = situation(facts, pods, spec=asked, previous=ready_before(revision))
            return states(status_of(case))["Ready"]

        for before in (OLD, NEW):  # during a rollout, and afterwards
            assert (ready(needed, before), ready(needed - 1, before)) == ("True", "False")

    def test_ready_ends_with_the_last_ready_pod(self) -> None:
        before = ready_before()

        for pods in ([], [pod()], [pod(deleting=True)]):
            status = status_of(situation(deployment(1, 0), pods, previous=before))
            assert states(status)["Ready"] == "False"
            assert reason_of(status) == Reason.PODS_NOT_READY

    def test_one_lost_pod_of_several_does_not_end_it(self) -> None:
        pods = [pod("a", ready=True), pod("b", ready=True), pod("c", restarts=3, exit_code=1)]
        assert states(status_of(situation(deployment(3, 2), pods, previous=ready_before())))["Ready"] == "True"

    def test_two_crashing_pods_of_three_do(self) -> None:
        pods = [pod("a", ready=True), *(pod(name, restarts=3, exit_code=1) for name in "bc")]
        status = status_of(situation(deployment(3, 1), pods, previous=ready_before()))

        assert reason_of(status) == Reason.CRASH_LOOPING

    def test_two_pods_of_three_that_lose_their_readiness_do(self) -> None:
        pods = [pod("a", ready=True), *(pod(name, lost_readiness=True) for name in "bc")]
        status = status_of(situation(deployment(3, 1), pods, previous=ready_before()))

        assert reason_of(status) == Reason.PODS_NOT_READY

    def test_pods_that_the_watch_has_not_shown_yet_do_not_end_it(self) -> None:
        rolled_out = situation(deployment(2), previous=ready_before(OLD))
        status = status_of(replace(rolled_out, previous=status_of(rolled_out)))

        assert states(status)["Ready"] == "True"

    def test_evicted_pods_do_not_lower_what_is_needed(self) -> None:
        """They stay as objects until somebody deletes them, but belong to no count of the Deployment."""
        evicted = [pod(f"evicted-{number}", exit_code=137) for number in range(3)]
        pods = [pod("a", ready=True), *evicted, *(pod(name, restarts=3, exit_code=1) for name in "bc")]
        status = status_of(situation(deployment(3, 1), pods, previous=ready_before()))

        assert states(status)["Ready"] == "False"

    def test_the_deployment_controller_has_not_seen_a_scale_up_yet(self) -> None:
        before = ready_before()
        status = status_of(situation(deployment(1, generation=2, observed_generation=1), previous=before))

        assert states(status)["Ready"] == "True"

    def test_the_deployment_controller_has_not_seen_a_new_revision_yet(self) -> None:
        before = ready_before(OLD)
        status = status_of(situation(deployment(1, generation=2, observed_generation=1), previous=before))

        assert states(status)["Ready"] == "False"


class TestZero:
    """replicas: 0 is a wish, not an outage."""

    def test_no_pod_is_ready_when_none_is_wanted(self) -> None:
        case = situation(deployment(0), spec=spec(replicas=0))
        status = status_of(case)

        assert states(status) == {"Ready": "True"}
        assert reason_of(status) == Reason.SCALED_TO_ZERO
        assert kstatus_of(case, status) == Judgement.CURRENT

    def test_going_to_zero_is_not_done_before_it_is_seen(self) -> None:
        before = ready_before()
        facts = deployment(0, 3, replicas=3, generation=2, observed_generation=1)

        assert states(status_of(situation(facts, previous=before))) == {"Ready": "False", "Reconciling": "True"}

    def test_coming_back_from_zero_is_not_ready_before_a_pod_is(self) -> None:
        zero = status_of(situation(deployment(0)))
        unobserved = deployment(1, 0, generation=2, observed_generation=1, replicas=0, updated_replicas=0)

        for facts in (unobserved, deployment(1, 0, replicas=0, updated_replicas=0), deployment(1, 0)):
            status = status_of(situation(facts, previous=zero))
            assert states(status)["Ready"] == "False", facts


class TestPaused:
    """The agents keep running, and are told about; the newest spec is not."""

    @pytest.mark.parametrize("by", [Reason.PAUSED_BY_SPEC, Reason.PAUSED_BY_ANNOTATION])
    def test_what_serves_is_ready_and_the_pause_is_said(self, by: Reason) -> None:
        case = situation(deployment(1, revision=OLD), previous=ready_before(OLD), generation=2, paused=Paused(by, 1))
        status = status_of(case)

        assert states(status) == {"Ready": "True", "Paused": "True"}
        assert condition(status, "Paused")["reason"] == by
        assert status["observedGeneration"] == 1
        assert status["currentRevision"] == OLD
        assert kstatus_of(case, status) == Judgement.IN_PROGRESS, "the new spec waits"

    def test_an_outage_is_told_but_nothing_is_done_about_it(self) -> None:
        paused = Paused(Reason.PAUSED_BY_SPEC, 1)
        status = status_of(situation(deployment(1, 0), previous=ready_before(), paused=paused, revision=None))

        assert states(status) == {"Ready": "False", "Paused": "True"}

    def test_a_pause_from_the_start_serves_nothing(self) -> None:
        case = situation(None, paused=Paused(Reason.PAUSED_BY_SPEC, -1))
        status = status_of(case)

        assert states(status)["Ready"] == "False"
        assert status["observedGeneration"] == -1
        assert kstatus_of(case, status) == Judgement.IN_PROGRESS


class TestSideConditions:
    """Conditions that are there only where they say something."""

    def test_references_are_resolved(self) -> None:
        status = status_of(situation(deployment(1), has_references=True))

        assert states(status)["ReferencesResolved"] == "True"

    def test_a_missing_reference_is_not(self) -> None:
        status = status_of(situation(deployment(1), has_references=True, problems=[CONFLICT, MISSING]))

        assert reason_of(status) == Reason.NAME_CONFLICT, "the worst comes first"
        assert condition(status, "ReferencesResolved")["message"] == MISSING.message

    @pytest.mark.parametrize(("active", "expected"), [(True, "True"), (False, "False"), (None, None)])
    def test_the_autoscaler_speaks_for_itself(self, active: bool | None, expected: str | None) -> None:  # noqa: FBT001 - the value under test
        facts = AutoscalerFacts(active, "FailedGetResourceMetric", "no metrics")
        status = status_of(situation(deployment(1), autoscaler=facts))

        assert states(status).get("ScalingActive") == expected

    @pytest.mark.parametrize(
        ("fields", "wanted", "said"),
        [
            ({}, 1, False),
            ({}, 2, True),
            ({"replicas": 1}, 1, False),
            ({"replicas": 3}, 3, True),
            ({"autoscaling": {"minReplicas": 1, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}}, 1, True),
        ],
    )
    def test_state_of_each_pod_is_told_where_there_may_be_several(
        self,
        fields: dict[str, object],
        wanted: int,
        said: bool,  # noqa: FBT001 - the value under test
    ) -> None:
        status = status_of(situation(deployment(wanted), spec=spec(**fields)))

        assert (states(status).get("StateShared") == "False") is said


def test_the_reason_of_an_unknown_status_is_unknown() -> None:
    assert reason_of({"observedGeneration": -1}) == "Unknown"


def test_a_deadline_that_another_rollout_missed_is_no_stall() -> None:
    """Going back to the revision that serves makes no progress, so the Deployment still says that it is late."""
    facts = deployment(1, replicas=2, applied_at="2026-11-21T11:59:50Z", deadline_exceeded=True)
    case = situation(facts, previous=ready_before())

    assert states(status_of(case)) == {"Ready": "False", "Reconciling": "True"}
    assert reason_of(status_of(case)) == Reason.ROLLING_OUT
    assert compute(case).look_again_after == 290
    later = status_of(replace(case, now=NOW + timedelta(seconds=290)))
    assert states(later) == {"Ready": "False", "Stalled": "True"}
