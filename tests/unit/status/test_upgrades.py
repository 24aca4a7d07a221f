"""What a status tells about upgrades: who asked for a revision, who waits, who counts, and what is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.status.compute import Status, compute
from agentservice_operator.status.situation import Situation
from agentservice_operator.status.upgrades import Inputs, Waiting, holds_slot, is_upgrade

from tests.unit.status.kstatus import Judgement, judge
from tests.unit.status.observations import NEW, OLD, condition, deployment, situation, states

WAITING = Waiting(live=OLD, revision=NEW, allowed="10%")


def status_of(case: Situation) -> Status:
    return compute(case).status


def serving(revision: str = OLD, **fields: Any) -> Status:
    """The status of one that serves."""
    return status_of(situation(deployment(revision=revision), revision=revision, **fields))


def rolling(previous: Status, **fields: Any) -> Situation:
    """The newest revision was written, and is not ready yet."""
    facts = deployment(available=0, updated_replicas=0, generation=2)
    return situation(facts, previous=previous, **fields)


def broken(previous: Status) -> Status:
    """The newest revision does not come up, and the deadline has passed."""
    return status_of(replace(rolling(previous), deployment=deployment(available=0, deadline_exceeded=True)))


def test_a_revision_that_the_author_did_not_ask_for_is_an_upgrade() -> None:
    status = serving(references="a")

    assert is_upgrade(status, Inputs(1, "a"), live={OLD}, desired=NEW)
    assert not is_upgrade(status, Inputs(1, "a"), live={OLD}, desired=OLD)


@pytest.mark.parametrize("inputs", [Inputs(2, "a"), Inputs(1, "b"), Inputs(1, None)], ids=["spec", "value", "no value"])
def test_an_edit_of_the_spec_or_of_a_config_map_is_none(inputs: Inputs) -> None:
    assert not is_upgrade(serving(references="a"), inputs, live={OLD}, desired=NEW)


def test_an_edit_that_was_not_applied_yet_is_still_the_authors() -> None:
    edited = status_of(situation(deployment(revision=OLD), revision=None, previous=serving(), generation=2))

    assert edited["observedGeneration"] == 2
    assert edited["appliedGeneration"] == 1
    assert not is_upgrade(edited, Inputs(2, None), live={OLD}, desired=NEW)


def test_without_a_record_nothing_is_an_upgrade() -> None:
    assert not is_upgrade({"observedGeneration": -1}, Inputs(1, None), live={OLD}, desired=NEW)


def test_a_deployment_that_somebody_turned_back_is_repaired_not_upgraded() -> None:
    assert not is_upgrade(serving(NEW), Inputs(1, None), live={OLD}, desired=NEW)


def test_one_that_waits_serves_on_and_is_current_for_gitops() -> None:
    case = situation(deployment(revision=OLD), revision=OLD, previous=serving(), waiting=WAITING)
    status = status_of(case)

    assert states(status) == {"Ready": "True", "UpgradePending": "True"}
    assert (status["currentRevision"], status["updateRevision"]) == (OLD, OLD)
    pending = condition(status, "UpgradePending")
    assert pending["reason"] == Reason.WAITING_FOR_TURN
    assert NEW in pending["message"]
    assert "10%" in pending["message"]
    assert judge({"metadata": {"generation": 1}, "status": status}) == Judgement.CURRENT
    assert not holds_slot(status, {OLD})


def test_one_that_served_holds_its_slot_until_it_is_ready_however_long_that_takes() -> None:
    started = status_of(rolling(serving()))
    stalled = broken(started)
    done = status_of(situation(deployment(), previous=stalled))

    assert condition(started, "UpgradePending")["reason"] == Reason.UPGRADING
    assert "Stalled" in states(stalled)
    assert [holds_slot(status, {NEW}) for status in (started, stalled, done)] == [True, True, False]
    assert states(done) == {"Ready": "True"}


def test_one_that_did_not_serve_holds_its_slot_until_it_is_stalled() -> None:
    before = status_of(situation(deployment(available=0, revision=OLD), revision=OLD, previous=serving()))
    started = status_of(rolling(before))
    stalled = broken(started)

    assert condition(started, "UpgradePending")["reason"] == Reason.UPGRADING_WHILE_NOT_READY
    assert [holds_slot(status, {NEW}) for status in (started, stalled)] == [True, False]


def test_a_write_whose_status_was_lost_counts_and_is_told_from_an_edit_afterwards() -> None:
    unwritten = serving()

    assert holds_slot(unwritten, {NEW})
    assert condition(status_of(rolling(unwritten)), "UpgradePending")["reason"] == Reason.UPGRADING


def test_the_rollout_of_an_edit_is_no_upgrade() -> None:
    status = status_of(rolling(serving(), generation=2))

    assert "UpgradePending" not in states(status)
    assert not holds_slot(status, {NEW})


def test_an_edit_frees_one_that_waits_and_leaves_one_that_is_upgraded_counted() -> None:
    waiting = status_of(situation(deployment(revision=OLD), revision=OLD, previous=serving(), waiting=WAITING))
    upgrading = status_of(rolling(serving()))

    assert "UpgradePending" not in states(status_of(rolling(waiting, generation=2)))
    assert condition(status_of(rolling(upgrading, generation=2)), "UpgradePending")["reason"] == Reason.UPGRADING


def test_a_write_that_is_refused_for_good_gives_the_slot_back() -> None:
    started = status_of(rolling(serving()))
    stalled = broken(started)

    assert not holds_slot(stalled, {OLD})
    assert is_upgrade(stalled, Inputs(1, None), live={OLD}, desired=NEW)
