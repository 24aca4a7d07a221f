"""The bookkeeping of the work queue against a model that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass

from agentservice_operator.engine.queue import Priority, Schedule
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

KEYS = st.sampled_from("abcde")
PRIORITIES = st.sampled_from(Priority)
DELAYS = st.sampled_from([0.0, 0.0, 0.5, 1.0, 5.0, 100.0])


@dataclass(frozen=True)
class Wish:
    """What is wanted of one key."""

    priority: Priority
    due: float


class ScheduleMachine(RuleBasedStateMachine):
    """Adds, pops and ends of work in any order; time moves only forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule: Schedule[str] = Schedule()
        self.now = 0.0
        self.waiting: dict[str, Wish] = {}
        self.working: dict[str, Wish | None] = {}
        """With what was wished for during the work."""

    @rule(key=KEYS, priority=PRIORITIES, delay=DELAYS)
    def add(self, key: str, priority: Priority, delay: float) -> None:
        wish = Wish(priority, self.now + delay)
        known = self.working.get(key) if key in self.working else self.waiting.get(key)
        if known is not None:
            wish = Wish(min(known.priority, wish.priority), min(known.due, wish.due))
        if key in self.working:
            self.working[key] = wish
        else:
            self.waiting[key] = wish

        self.schedule.add(key, priority, self.now + delay, self.now)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 10.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def pop(self) -> None:
        due = {key: wish for key, wish in self.waiting.items() if wish.due <= self.now}

        taken = self.schedule.pop(self.now)

        if taken is None:
            assert not due, f"{due} was due at {self.now}, and nothing was given out"
            return
        key, asked = taken
        assert key not in self.working, f"{key} is worked on twice"
        assert key in due, f"{key} was given out although nobody asked for it by {self.now}"
        assert due[key].priority == min(wish.priority for wish in due.values())
        assert asked <= self.now
        del self.waiting[key]
        self.working[key] = None

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        again = self.working.pop(key)
        if again is not None:
            self.waiting[key] = again

        self.schedule.done(key)

    @invariant()
    def counts_as_depth_only_what_a_worker_could_take(self) -> None:
        promoted = sum(wish.due <= self.now for wish in self.waiting.values())
        assert self.schedule.depth <= promoted

    @invariant()
    def knows_when_to_look_again(self) -> None:
        later = [wish.due for wish in self.waiting.values() if wish.due > self.now]
        due = self.schedule.next_due()
        if later and len(later) == len(self.waiting):
            assert due == min(later)
        if not self.waiting:
            assert due is None

    def teardown(self) -> None:
        """Whatever happened: let all work end, and every wish comes true exactly once more."""
        for key, again in self.working.items():
            self.schedule.done(key)
            if again is not None:
                self.waiting[key] = again
        self.now += 1000.0
        given = []
        while taken := self.schedule.pop(self.now):
            given.append(taken[0])
        assert sorted(given) == sorted(self.waiting)


TestSchedule = ScheduleMachine.TestCase
TestSchedule.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_of_one_priority_the_earliest_due_goes_first() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("late", Priority.CHANGE, due=3.0, now=0.0)
    schedule.add("early", Priority.CHANGE, due=1.0, now=0.0)
    schedule.add("middle", Priority.CHANGE, due=2.0, now=0.0)

    assert drain(schedule, now=5.0) == ["early", "middle", "late"]


def test_a_change_overtakes_the_start_up_list_and_that_the_resyncs() -> None:
    schedule: Schedule[str] = Schedule()
    for key, priority in (("resync", Priority.RESYNC), ("listed", Priority.STARTUP), ("changed", Priority.CHANGE)):
        schedule.add(key, priority, due=0.0, now=0.0)

    assert drain(schedule, now=0.0) == ["changed", "listed", "resync"]


def test_a_key_that_waits_behind_others_moves_up_when_it_changes() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("first", Priority.RESYNC, due=0.0, now=0.0)
    schedule.add("second", Priority.RESYNC, due=0.0, now=0.0)

    schedule.add("second", Priority.CHANGE, due=0.0, now=0.0)

    assert drain(schedule, now=0.0) == ["second", "first"]


def test_a_key_that_keeps_changing_does_not_starve_another_of_its_priority() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("busy", Priority.CHANGE, due=0.0, now=0.0)
    schedule.add("quiet", Priority.CHANGE, due=0.0, now=0.0)

    order = []
    for turn in range(4):
        now = float(turn)
        taken = schedule.pop(now)
        assert taken is not None
        order.append(taken[0])
        schedule.add("busy", Priority.CHANGE, due=now, now=now)
        schedule.done(taken[0])

    assert order.index("quiet") == 1


def test_the_wait_of_a_key_is_counted_from_when_it_was_due() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("asked at once", Priority.CHANGE, due=1.0, now=1.0)
    schedule.add("asked for later", Priority.CHANGE, due=8.0, now=1.0)

    asked = dict(filter(None, (schedule.pop(10.0), schedule.pop(10.0))))

    assert asked == {"asked at once": 1.0, "asked for later": 8.0}


def test_keys_that_are_worked_on_again_and_again_leave_nothing_behind() -> None:
    """Every reconcile asks for the key in 100 s; a change comes first: the old wish must not pile up until then."""
    schedule: Schedule[int] = Schedule()
    now = 0.0
    for _ in range(1000):
        for key in range(10):
            schedule.add(key, Priority.CHANGE, due=now, now=now)
        while taken := schedule.pop(now):
            schedule.add(taken[0], Priority.RESYNC, due=now + 100.0, now=now)
            schedule.done(taken[0])
        now += 0.001

    assert held(schedule) < 200


def drain(schedule: Schedule[str], now: float) -> list[str]:
    order = []
    while taken := schedule.pop(now):
        order.append(taken[0])
        schedule.done(taken[0])
    return order


def held(schedule: Schedule[int]) -> int:
    """How many places in lists and maps a schedule takes up."""
    return sum(len(part) for part in vars(schedule).values() if isinstance(part, list | dict | set))
