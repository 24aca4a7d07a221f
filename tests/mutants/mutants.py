"""What the operator promises, and for each promise a change of the code that breaks it.

The promises are the rows of the table in docs/architecture.md. A mutant replaces a few words that occur once in a file:
that outlives edits around them, and where it no longer fits a unit test says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

OPERATOR = "operator/agentservice_operator"
TESTS = "tests/controlplane"


class StaleMutantError(Exception):
    """The words that a mutant replaces are not in its file exactly once."""


@dataclass(frozen=True)
class Mutant:
    """One way to break a promise.

    Args:
        promise: the first cell of its row.
        breaks: what goes wrong, in a few words.
        file: which is changed, from the root of the repository.
        old: what is replaced; occurs once.
        new: by what.
        test: the pytest id of the test that must fail.
    """

    promise: str
    breaks: str
    file: str
    old: str
    new: str
    test: str

    def apply(self, root: Path) -> None:
        """Change the file below ``root``.

        Raises:
            StaleMutantError: It has changed so that the mutant no longer says what to change.
        """
        path = root / self.file
        text = path.read_text() if path.exists() else ""
        if (found := text.count(self.old)) != 1:
            raise StaleMutantError(
                f"{self.file} has {found} times instead of once: {self.old!r}\n"
                f"Adapt the mutant '{self.breaks}' in tests/mutants/mutants.py to the code of today."
            )
        path.write_text(text.replace(self.old, self.new))


_FEW_WRITES = "writes for a new one-replica AgentService with C children (Leases apart)"
_AT_REST = "writes for a label edit, a resync, an operator restart, idle time"
_REPAIR = "watched child deleted or edited -> repaired"
_KEYS = "key Secret deleted -> another one with a new key"
_FOREIGN = "object of somebody else under a child's name"
_COUNT = "live count while autoscaling comes and goes"
_ROLLOUT = "change of prompt, model or configuration"
_SAME = "same end spec by any path of edits -> same children"
_UPGRADE = "operator upgrade with another default image"
_ROTATION = "rotation of the generated key"
_ABSENT = "operator at 0 replicas"
_LEADER = "leader killed / told to end -> the other acts"
_AT_ONCE = "500 AgentServices applied at once"
_MEMORY = "memory"
_FAIR = "one AgentService failing in a loop among 200"
_FAULT = "operator killed after any write, any event lost, any request failed once"

MUTANTS = (
    Mutant(
        _FEW_WRITES,
        "a child that is as it should be is applied again",
        f"{OPERATOR}/engine/children.py",
        "equal = child.intent_digest == wanted or stored",
        "equal = stored",
        f"{TESTS}/test_operator_children.py::test_prf_1_a_new_agent_service_costs_one_write_per_child_and_two",
    ),
    Mutant(
        _FEW_WRITES,
        "each pod that becomes ready is reported at once",
        f"{OPERATOR}/engine/report.py",
        "COUNTS_EVERY_SECONDS = 5.0",
        "COUNTS_EVERY_SECONDS = 0.0",
        f"{TESTS}/test_operator_children.py::test_prf_7_bringing_up_costs_at_most_four_status_writes_whatever_the_size",
    ),
    Mutant(
        _AT_REST,
        "a status that says nothing new is written after a restart",
        f"{OPERATOR}/engine/report.py",
        "if status == reported:",
        "if status == reported and service.service in self._written:",
        f"{TESTS}/test_operator_at_rest.py::test_prf_5_a_restart_lists_each_kind_and_writes_nothing",
    ),
    Mutant(
        _AT_REST,
        "the key Secret is patched at each resync",
        f"{OPERATOR}/engine/api_keys.py",
        "if not changes:",
        "if changes is None:",
        f"{TESTS}/test_operator_at_rest.py::test_prf_4_prf_6_nothing_is_written_until_everything_was_listed_again",
    ),
    Mutant(
        _REPAIR,
        "the deletion of a child wakes nobody",
        f"{OPERATOR}/engine/cache.py",
        "self._bury(key, version)\n        if entry is not None:",
        "self._bury(key, version)\n        if entry is None:",
        f"{TESTS}/test_operator_children.py::test_prf_8_a_watched_child_is_repaired[deleted]",
    ),
    Mutant(
        _REPAIR,
        "the edit of a child wakes nobody",
        f"{OPERATOR}/engine/cache.py",
        "intent_digest: str",
        "intent_digest: str = field(compare=False)",
        f"{TESTS}/test_operator_children.py::test_prf_8_a_watched_child_is_repaired[edited]",
    ),
    Mutant(
        _KEYS,
        "what no watch shows is looked at too seldom",
        f"{OPERATOR}/engine/reconcile.py",
        "RECHECK_SECONDS = 80.0",
        "RECHECK_SECONDS = 800.0",
        f"{TESTS}/test_operator_children.py::test_a_lost_key_secret_is_made_again_with_a_new_key",
    ),
    Mutant(
        _FOREIGN,
        "whatever holds the name is taken over",
        f"{OPERATOR}/engine/children.py",
        "raise Blocked(Problem(Reason.NAME_CONFLICT, message, terminal=True))",
        "return True",
        f"{TESTS}/test_operator_children.py::test_act_8_a_foreign_object_of_a_childs_name_stays_as_it_is",
    ),
    Mutant(
        _FOREIGN,
        "what the cache does not know is taken for absent",
        f"{OPERATOR}/engine/children.py",
        "live = await self._kubernetes.get(kind, owner.namespace, name)",
        "live: Object | None = None",
        f"{TESTS}/test_operator_children.py::test_act_8_a_foreign_object_of_a_childs_name_stays_as_it_is",
    ),
    Mutant(
        _COUNT,
        "the count is dropped before another manager has it",
        f"{OPERATOR}/engine/children.py",
        "if isinstance(facts, DeploymentFacts) and child.owns_replicas and",
        "if isinstance(facts, DeploymentFacts) and not child.owns_replicas and",
        f"{TESTS}/test_operator_replicas.py::test_api_7_autoscaling_on_and_off_never_drops_a_pod",
    ),
    Mutant(
        _COUNT,
        "a Deployment that is made again begins with one pod",
        f"{OPERATOR}/engine/children.py",
        "if count != REPLICAS_BY_DEFAULT:",
        "if count == REPLICAS_BY_DEFAULT:",
        f"{TESTS}/test_operator_replicas.py::test_api_7_a_deployment_that_was_deleted_comes_back_with_its_count",
    ),
    Mutant(
        _ROLLOUT,
        "a new configuration keeps the name of the old one",
        f"{OPERATOR}/builders/config_map.py",
        "short_hash(data)",
        "short_hash(sorted(data))",
        f"{TESTS}/test_operator_rollouts.py::test_each_change_of_what_runs_is_one_rollout",
    ),
    Mutant(
        _ROLLOUT,
        "an annotation for the children reaches the pods",
        f"{OPERATOR}/builders/pod_template.py",
        '"enableServiceLinks": False',
        '"enableServiceLinks": bool(service.spec.inherited_metadata.annotations)',
        f"{TESTS}/test_operator_rollouts.py::test_no_other_change_is_a_rollout",
    ),
    Mutant(
        _SAME,
        "what is no longer asked for stays",
        f"{OPERATOR}/engine/children.py",
        "if (kind, child.name) not in keep:",
        "if (kind, child.name) in ():",
        f"{TESTS}/test_walks.py::test_act_3_the_children_do_not_depend_on_the_way_to_a_spec",
    ),
    Mutant(
        _UPGRADE,
        "all agents are rolled out at once",
        f"{OPERATOR}/engine/upgrades.py",
        ">= self.limit.of(len(others) + 1)",
        ">= 10 * self.limit.of(len(others) + 1)",
        f"{TESTS}/test_operator_upgrades.py::test_prf_15_a_changed_default_image_rolls_a_tenth_at_a_time",
    ),
    Mutant(
        _ABSENT,
        "the children wait until the operator lets them go",
        f"{OPERATOR}/builders/labels.py",
        'metadata["ownerReferences"] =',
        'metadata["finalizers"] = ["agentservice.dev/children"]\n        metadata["ownerReferences"] =',
        f"{TESTS}/test_operator_deletion.py::test_kpf_3_deleting_an_agent_service_takes_all_its_children_along",
    ),
    Mutant(
        _LEADER,
        "the Lease is kept by who is told to end",
        f"{OPERATOR}/kube/lease.py",
        'if lease is not None and lease["spec"].get("holderIdentity") == self.identity:',
        "if lease is None:",
        f"{TESTS}/test_operator_leadership.py"
        "::test_kpf_10_the_standby_takes_over_at_once_from_a_leader_that_is_told_to_end",
    ),
    Mutant(
        _LEADER,
        "a dead leader is waited for too long",
        f"{OPERATOR}/kube/lease.py",
        "duration: float = 15.0",
        "duration: float = 60.0",
        f"{TESTS}/test_operator_leadership.py::test_kpf_10_the_standby_takes_over_from_a_leader_that_crashed",
    ),
    Mutant(
        _LEADER,
        "the Lease is not looked at before a write",
        f"{OPERATOR}/main.py",
        "before_write=self._check",
        "before_write=None",
        f"{TESTS}/test_faults_leadership.py"
        "::test_siv_9_a_leader_that_wakes_before_another_leads_does_not_write_on_an_old_lease",
    ),
    Mutant(
        _FAULT,
        "children are made without a look at their owner",
        f"{OPERATOR}/engine/live_owner.py",
        "raise OwnerGone",
        "return",
        f"{TESTS}/test_faults_events.py"
        "::test_siv_2_children_do_not_come_back_as_ghosts_where_the_deletion_was_not_heard_of",
    ),
    Mutant(
        _ROTATION,
        "the Secret does not say which rotation it has had",
        f"{OPERATOR}/engine/api_keys.py",
        "str(_rotation(intent))}",
        "str(_rotation(live))}",
        f"{TESTS}/test_operator_api_keys.py::test_each_rotation_is_one_write_and_keeps_the_key_before",
    ),
    Mutant(
        _AT_ONCE,
        "one AgentService after the other",
        f"{OPERATOR}/main.py",
        "workers=settings.workers",
        "workers=1",
        f"{TESTS}/test_operator_scale.py::test_prf_9_many_are_written_side_by_side_with_no_request_too_many",
    ),
    Mutant(
        _AT_ONCE,
        "the AgentService is read for each of its children",
        f"{OPERATOR}/engine/live_owner.py",
        "self._alive = True",
        "self._alive = False",
        f"{TESTS}/test_operator_scale.py::test_prf_9_many_are_written_side_by_side_with_no_request_too_many",
    ),
    Mutant(
        _MEMORY,
        "whole objects are kept",
        f"{OPERATOR}/engine/cache.py",
        "            entry = self._project(item)\n        except Exception:",
        "            entry = self._project(item)\n"
        "            self.__dict__.setdefault('whole', {})[item['metadata']['uid']] = item\n"
        "        except Exception:",
        f"{TESTS}/test_operator_scale.py::test_prf_11_an_agent_service_is_remembered_by_what_matters_of_it",
    ),
    Mutant(
        _MEMORY,
        "a page of a list is held until the next one is there",
        f"{OPERATOR}/kube/reflector.py",
        'page.pop("items")',
        'page["items"]',
        "tests/unit/kube/test_reflector.py::"
        "test_a_page_of_a_list_is_no_longer_held_as_objects_when_the_next_one_is_asked_for",
    ),
    Mutant(
        _FAIR,
        "what fails is tried again at once, before what has not been looked at",
        f"{OPERATOR}/engine/queue.py",
        "self.add(key, Priority.CHANGE, after=delay)",
        "self.add(key, Priority.CHANGE)",
        "tests/unit/engine/test_controller.py::"
        "test_one_that_fails_in_a_loop_among_200_costs_the_others_less_than_a_tenth",
    ),
)
