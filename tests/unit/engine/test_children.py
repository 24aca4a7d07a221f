"""The decisions about a child that need no API server; what the API server makes of them is tested on a real one."""

from __future__ import annotations

from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.engine.api_keys import metadata_patch
from agentservice_operator.engine.children import Blocked, ReplicasPolicy, require_ours
from agentservice_operator.engine.kinds import SERVICE
from agentservice_operator.engine.ports import FIELD_MANAGER, Object
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engine.objects import NAMESPACE, known_service

OWNER = known_service()
OURS = {"app.kubernetes.io/managed-by": "agentservice-operator", "agentservice.dev/service": "hello"}


def owner_reference(
    uid: str = "u-1", kind: str = "AgentService", name: str = "hello", *, controller: bool = True
) -> Object:
    return {"apiVersion": "agentservice.dev/v1alpha1", "kind": kind, "name": name, "uid": uid, "controller": controller}


def live(labels: dict[str, str], *owners: Object, **meta: Any) -> Object:
    meta = {"name": "hello", "namespace": NAMESPACE, "resourceVersion": "7", "labels": labels, **meta}
    return {"metadata": {**meta, "ownerReferences": list(owners)} if owners else meta}


class TestAdoption:
    """An object holds the name of a child."""

    def test_our_own_child_is_applied_without_more_ado(self) -> None:
        assert require_ours(OWNER, SERVICE, live(OURS, owner_reference())) is False

    def test_our_own_child_is_ours_even_if_somebody_took_its_labels(self) -> None:
        assert require_ours(OWNER, SERVICE, live({}, owner_reference())) is False

    @pytest.mark.parametrize(
        "orphan",
        [live(OURS), live(OURS, owner_reference("x", "ReplicaSet", "another", controller=False))],
        ids=["without owners", "with an owner that does not control it"],
    )
    def test_an_orphan_with_our_labels_is_adopted(self, orphan: Object) -> None:
        assert require_ours(OWNER, SERVICE, orphan) is True

    @pytest.mark.parametrize(
        "foreign",
        [
            live({}),
            live({"app.kubernetes.io/managed-by": "agentservice-operator"}),
            live({**OURS, "agentservice.dev/service": "other"}),
            live({**OURS, "app.kubernetes.io/managed-by": "Helm"}),
            live(OURS, owner_reference("x", "Deployment", "another")),
            live(OURS, owner_reference("x", "AgentService", "other")),
            live({}, deletionTimestamp="2026-11-21T00:00:00Z"),
            live({}, owner_reference("u-0")),
        ],
        ids=[
            "no labels",
            "only managed-by",
            "another AgentService's labels",
            "managed by another",
            "controlled by another kind",
            "controlled by another AgentService",
            "foreign and on its way out",
            "of an earlier AgentService of the name, without labels",
        ],
    )
    def test_a_foreign_object_is_a_conflict_that_a_person_must_solve(self, foreign: Object) -> None:
        with pytest.raises(Blocked) as blocked:
            require_ours(OWNER, SERVICE, foreign)

        problem = blocked.value.problem
        assert problem.reason is Reason.NAME_CONFLICT
        assert problem.terminal
        assert "Service named hello" in problem.message
        assert "Delete or rename it" in problem.message

    @pytest.mark.parametrize(
        "leaving",
        [
            live(OURS, owner_reference("u-0")),
            live(OURS, owner_reference(), deletionTimestamp="2026-11-21T00:00:00Z"),
            live(OURS, deletionTimestamp="2026-11-21T00:00:00Z"),
        ],
        ids=["of an AgentService that was made again", "being deleted", "an orphan being deleted"],
    )
    def test_an_earlier_child_is_waited_for(self, leaving: Object) -> None:
        with pytest.raises(Blocked) as blocked:
            require_ours(OWNER, SERVICE, leaving)

        assert blocked.value.problem.reason is Reason.WAITING_FOR_DELETION
        assert not blocked.value.problem.terminal


class TestMetadataPatch:
    """The key Secret is never applied: its data would be sent. Its metadata is mended by a merge patch."""

    INTENT: Object = {
        "metadata": {
            "name": "hello-api-keys",
            "labels": OURS,
            "annotations": {"team": "a"},
            "ownerReferences": [owner_reference()],
        }
    }

    def as_intended(self, **meta: Any) -> Object:
        return {"metadata": {**self.INTENT["metadata"], "resourceVersion": "7", **meta}}

    def test_as_intended_nothing_is_to_be_said(self) -> None:
        assert metadata_patch(self.INTENT, self.as_intended()) == {}

    def test_others_labels_and_annotations_are_left_alone(self) -> None:
        meta = {"labels": {**OURS, "cost": "42"}, "annotations": {"team": "a", "note": "mine"}}

        assert metadata_patch(self.INTENT, self.as_intended(**meta)) == {}

    def test_a_changed_and_a_lost_label_are_set_again(self) -> None:
        changed = {"app.kubernetes.io/managed-by": "somebody"}

        assert metadata_patch(self.INTENT, self.as_intended(labels=changed)) == {"labels": OURS}

    def test_what_we_once_set_and_no_longer_want_is_removed(self) -> None:
        record = {
            "manager": FIELD_MANAGER,
            "operation": "Update",
            "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, "f:team": {}, "f:region": {}}}},
        }
        annotated = self.as_intended(annotations={"team": "a", "region": "eu", "note": "x"}, managedFields=[record])

        assert metadata_patch(self.INTENT, annotated) == {"annotations": {"region": None}}

    def test_what_another_set_is_not_removed(self) -> None:
        record = {"manager": "kubectl", "fieldsV1": {"f:metadata": {"f:annotations": {"f:region": {}}}}}
        annotated = self.as_intended(annotations={"team": "a", "region": "eu"}, managedFields=[record])

        assert metadata_patch(self.INTENT, annotated) == {}

    def test_an_orphan_gets_its_owner_beside_those_that_it_has(self) -> None:
        other = owner_reference("x", "Backup", "nightly", controller=False)

        patch = metadata_patch(self.INTENT, self.as_intended(ownerReferences=[other]))

        assert patch == {"ownerReferences": [other, owner_reference()]}

    def test_never_data(self) -> None:
        patch = metadata_patch(self.INTENT, {"metadata": {}})

        assert set(patch) == {"labels", "annotations", "ownerReferences"}


class TestReplicas:
    """The count that a Deployment keeps when nobody states one."""

    @given(count=st.integers(min_value=0, max_value=2000), low=st.integers(0, 50), more=st.integers(0, 50))
    def test_under_an_autoscaler_it_stays_within_the_autoscalers_bounds(self, count: int, low: int, more: int) -> None:
        clamped = ReplicasPolicy(low, low + more).clamp(count)

        assert low <= clamped <= low + more
        assert clamped == count or not low <= count <= low + more

    @pytest.mark.parametrize("count", [0, 1, 7, 1000])
    def test_without_one_it_stays_as_it_is(self, count: int) -> None:
        assert ReplicasPolicy(0, None).clamp(count) == count

    def test_a_stopped_deployment_is_woken_for_its_autoscaler(self) -> None:
        """An autoscaler leaves a Deployment with 0 replicas alone for ever."""
        assert ReplicasPolicy(1, 5).clamp(0) == 1
