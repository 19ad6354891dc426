"""Says what is due, and sends it: the scheduler that remembers nothing.

Its names are Celery's, so that schedulers made for Celery need another base class and no more.
"""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Mapping, MutableMapping
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, uuid4, uuid5

from ..clock import seconds
from ..errors import BrokerConnectionError, ImproperlyConfigured, SchedulingError
from ..messaging.leading import NotLeading
from .catchup import Plan, plan
from .election import Election
from .entry import BeatLazyFunc, ScheduleEntry, make_entry

log = logging.getLogger("taskctl.beat")

#: Longest time between two ticks, in seconds, if nothing says otherwise; Celery's too.
DEFAULT_MAX_INTERVAL = 300.0
#: Seconds before the first new try to reach a broker that is away; doubles up to the last.
FIRST_PAUSE, LAST_PAUSE = 1.0, 30.0
#: Seconds of lateness from which a log line mentions it.
_NOTABLE = 1.0
_PRIORITY = 5
#: Seconds of lateness up to which a run is not missed, whatever is to be caught up; twice the
#: lease of a leader if that is more, since a change of leaders is no reason to leave one out.
_GRACE = 30.0


class event_t(NamedTuple):
    """When (Unix seconds) an entry is to be looked at."""

    time: float
    priority: int
    entry: ScheduleEntry


class Scheduler:
    """Keeps entries in the order in which they are due; `tick` sends the first, if it is.

    A subclass may keep `schedule` (a dict of entries by name) elsewhere; it is compared with the
    last look in every tick.  `setup_schedule` fills it, `sync` writes down what has run, `close`
    does so for the last time.  With `lazy` the schedule is not set up.
    """

    Entry: type[ScheduleEntry] = ScheduleEntry

    #: Longest time between two ticks, in seconds.
    max_interval: float = DEFAULT_MAX_INTERVAL
    #: Seconds after which what has run is written down.
    sync_every: float = 3 * 60
    #: Sends after which it is written down earlier; 0 or None: never.
    sync_every_tasks: int | None = None

    logger = log

    def __init__(
        self,
        app: Any,
        schedule: Any = None,
        max_interval: float | None = None,
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.data: Any = schedule() if callable(schedule) else {} if schedule is None else schedule
        self.max_interval = (
            max_interval or seconds(app.conf.beat_max_loop_interval) or self.max_interval
        )
        if sync_every_tasks is None:
            sync_every_tasks = app.conf.beat_sync_every
        self.sync_every_tasks = sync_every_tasks
        self.old_schedulers: dict[str, ScheduleEntry] | None = None
        self._heap: list[event_t] | None = None
        self._last_sync = time.monotonic()
        self._tasks_since_sync = 0
        #: Time (monotonic) before which the broker is not tried, and the pause after that.
        self._away_until = 0.0
        self._pause = 0.0
        #: Ids of sends whose end is not known: tried again, they keep their id.
        self._task_ids: dict[str, str] = {}
        #: Our part in the election of who sends; None: we alone do.
        self.election: Election | None = None
        #: What is to be done about the entry that is being sent.
        self._plan = Plan()
        if not lazy:
            self.setup_schedule()

    # --- the schedule -------------------------------------------------------------------------

    def get_schedule(self) -> MutableMapping[str, Any]:
        data: MutableMapping[str, Any] = self.data
        return data

    def set_schedule(self, schedule: Any) -> None:
        self.data = schedule

    @property
    def schedule(self) -> MutableMapping[str, Any]:
        """The entries by name."""
        return self.get_schedule()

    @schedule.setter
    def schedule(self, schedule: Any) -> None:
        self.set_schedule(schedule)

    def setup_schedule(self) -> None:
        """Fill the schedule from the settings."""
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.schedule)

    def install_default_entries(self, data: Mapping[str, Any]) -> None:
        """Add entries that nobody has to ask for; for subclasses.

        Celery sends `celery.backend_cleanup` every night; the result backends here drop what is
        too old by themselves.
        """

    def add(self, **kwargs: Any) -> ScheduleEntry:
        """Add an entry, which is returned."""
        entry = self.Entry(app=self.app, **kwargs)
        self.schedule[entry.name] = entry
        return entry

    def update_from_dict(self, entries: Mapping[str, Any]) -> None:
        """Add entries written as in `beat_schedule`; one that makes no sense is left out."""
        self.schedule.update(make_entries(self.Entry, entries, self.app))

    def merge_inplace(self, wanted: Mapping[str, Any]) -> None:
        """Make the schedule hold what `wanted` says; what is known keeps its last run."""
        held = self.schedule
        made = make_entries(self.Entry, wanted, self.app)
        for name in [name for name in held if name not in made]:
            del held[name]
        for name, entry in made.items():
            if name in held:
                held[name].update(entry)
            else:
                held[name] = entry

    def schedules_equal(self, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> bool:
        """Return whether two schedules send the same at the same times."""
        if old is None or new is None:
            return old is new
        return old.keys() == new.keys() and all(
            entry is new[name] or entry == new[name] for name, entry in old.items()
        )

    # --- the heap -----------------------------------------------------------------------------

    def populate_heap(self) -> None:
        """Put every entry where it belongs by now."""
        heap = []
        for entry in self.schedule.values():
            entry.forget_future()
            due, wait = self._ask(entry)
            heap.append(event_t(self._when(entry, 0 if due else wait), _PRIORITY, entry))
        heapq.heapify(heap)
        self._heap = heap

    def clock_was_set(self) -> None:
        """Look at every entry anew in the next tick."""
        self._heap = None

    def next_due(self) -> event_t | None:
        """Return what is due next; None if there is nothing to send."""
        if self._heap is None:
            self.old_schedulers = dict(self.schedule)
            self.populate_heap()
        return self._heap[0] if self._heap else None

    def is_due(self, entry: ScheduleEntry) -> Any:
        """Return whether an entry is due, and after how many seconds to ask again."""
        return entry.is_due()

    def _ask(self, entry: ScheduleEntry) -> tuple[bool, float | None]:
        """The same; an entry that cannot tell is asked again later, and stops no other."""
        try:
            due, wait = self.is_due(entry)
        except Exception:  # a schedule may be the user's own
            log.exception(
                "cannot tell when %r is due; asking again in %g s", entry.name, self.max_interval
            )
            return False, self.max_interval
        return due, wait

    def _when(self, entry: ScheduleEntry, wait: float | None) -> float:
        now = entry.default_now().timestamp()
        return now + (self.max_interval if wait is None else wait)

    # --- sending ------------------------------------------------------------------------------

    def tick(self) -> float:
        """Send the entry that is due first, if it is; return after how many seconds to come back.

        0 stands for at once.  A broker that is away keeps what is due: it is sent once, late.
        """
        if self._heap is None or not self.schedules_equal(self.old_schedulers, self.schedule):
            self._heap = None
        event = self.next_due()
        if event is None:
            return self.max_interval
        assert self._heap is not None and self.old_schedulers is not None
        entry = event.entry
        early = event.time - self._when(entry, 0)
        if early > 0:
            return min(early, self.max_interval)
        due, wait = self._ask(entry)
        if not due:
            heapq.heapreplace(self._heap, event_t(self._when(entry, wait), _PRIORITY, entry))
            return 0 if self._heap[0].entry is not entry else self._capped(wait)
        away = self._away_until - time.monotonic()
        if away > 0:
            return min(away, self.max_interval)
        self._plan = self._planned(entry)
        try:
            if self._plan.send:
                self.apply_entry(entry)
                self._note_back(-early)
            else:
                self.leave_out(entry)
        except BrokerConnectionError as exc:
            return min(self._note_away(exc), self.max_interval)
        following, wait = self._following(entry, wait)
        self.old_schedulers[entry.name] = following
        heapq.heapreplace(self._heap, event_t(self._when(following, wait), _PRIORITY, following))
        self.has_run(following, due_at=event.time, next_at=self._heap_time(following, wait))
        return 0

    def _planned(self, entry: ScheduleEntry) -> Plan:
        """Return which run of a due entry is sent now, and which are left out."""
        conf = self.app.conf
        policy = getattr(entry, "catchup", None) or conf.beat_catchup
        grace = max(_GRACE, 2 * seconds(conf.beat_lease))
        planned = plan(entry, policy=policy, limit=conf.beat_catchup_limit, grace=grace)
        if planned.cut:
            log.warning(
                "%s missed more than %d runs: the newest are sent (beat_catchup_limit)",
                entry.name, conf.beat_catchup_limit,
            )  # fmt: skip
        if planned.counts_for is None and type(entry).next is ScheduleEntry.next:
            planned = planned._replace(counts_for=entry.run_counts_for())
        return planned

    def _following(
        self, entry: ScheduleEntry, wait: float | None
    ) -> tuple[ScheduleEntry, float | None]:
        """Return what stands in an entry's place after its run, and when that is due."""
        following, counts_for = self.reserve(entry), self._plan.counts_for
        if counts_for is None:
            return following, wait
        following.last_run_at = counts_for
        if not self._plan.send:
            following.total_run_count -= 1
        after = getattr(following.schedule, "due_after", None)
        try:
            due = None if after is None else after(counts_for)
        except NotImplementedError:
            return following, wait
        if after is None or (due is None and wait is not None):
            return following, wait
        if due is None:
            return following, None
        return following, max(0.0, due.timestamp() - following.default_now().timestamp())

    def leave_out(self, entry: ScheduleEntry) -> None:
        """Called instead of `apply_entry` for runs that were missed and are not caught up."""
        if self.election is not None:
            self.election.deliver(lambda: None, self.notes_on(entry))
        log.info("%s was missed, and is left out: %s", entry.name, self._plan.due)

    def _capped(self, wait: float | None) -> float:
        return self.max_interval if wait is None else min(wait, self.max_interval)

    def _heap_time(self, entry: ScheduleEntry, wait: float | None) -> float | None:
        return None if wait is None else self._when(entry, wait)

    def reserve(self, entry: ScheduleEntry) -> ScheduleEntry:
        """Note that an entry runs now; return what stands in its place."""
        following: ScheduleEntry = entry.next()
        self.schedule[entry.name] = following
        return following

    def has_run(self, entry: ScheduleEntry, *, due_at: float, next_at: float | None) -> None:
        """Called after an entry was sent that was due at `due_at` (Unix seconds)."""

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send what an entry says; a failure is logged and ends this run of it.

        Raises BrokerConnectionError if the broker is away: then nothing is known of this run.
        """
        try:
            result = self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as exc:
            log.error("%s", exc, exc_info=exc.__cause__)
        else:
            log.info("due task %s: %s (%s)", entry.name, entry.task, getattr(result, "id", None))

    def apply_async(
        self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        """Send what an entry says, and return the result object.

        Raises BrokerConnectionError if the broker is away, SchedulingError for all else.
        """
        entry = self.reserve(entry) if advance else entry
        task_id = self._task_ids.setdefault(entry.name, self._id_of(entry))
        try:
            if self.election is None:
                result = self._send(entry, task_id)
            else:
                notes = self.notes_on(entry)
                result = self.election.deliver(lambda: self._send(entry, task_id), notes)
        except (BrokerConnectionError, NotLeading):
            raise
        except Exception as exc:  # arguments, routers and signal receivers are the user's own
            del self._task_ids[entry.name]
            self._tasks_since_sync += 1
            raise SchedulingError(f"cannot send {entry.name} ({entry.task}): {exc}") from exc
        del self._task_ids[entry.name]
        self._tasks_since_sync += 1
        return result

    def _send(self, entry: ScheduleEntry, task_id: str) -> Any:
        args = [_evaluated(value) for value in entry.args or ()]
        kwargs = {key: _evaluated(value) for key, value in entry.kwargs.items()}
        headers = {**(entry.options.get("headers") or {}), "celery_beat_task": True}
        if self._plan.due is not None:
            headers.update(beat_entry=entry.name, beat_due=self._plan.due.isoformat())
        options = {"task_id": task_id, **entry.options, "headers": headers}
        task = self.app.tasks.get(entry.task)
        if task is not None:
            return task.apply_async(args, kwargs, **options)
        return self.send_task(entry.task, args, kwargs, **options)

    def _id_of(self, entry: ScheduleEntry) -> str:
        """Return the id of an entry's next run: in an election, the same whoever sends it."""
        last = getattr(entry, "last_run_at", None)
        if self.election is None or last is None:
            return str(uuid4())
        run = (self.election.group, entry.name, last.timestamp(), entry.total_run_count)
        return str(uuid5(NAMESPACE_OID, repr(run)))

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        """Send a task that is known by name alone."""
        return self.app.send_task(*args, **kwargs)

    def _note_away(self, exc: BrokerConnectionError) -> float:
        self._pause = min(LAST_PAUSE, self._pause * 2 or FIRST_PAUSE)
        self._away_until = time.monotonic() + self._pause
        log.error("%s; trying again in %g s, what is due then is sent once", exc, self._pause)
        return self._pause

    def _note_back(self, late: float) -> None:
        if self._pause:
            log.warning("the broker is back")
            self._pause = 0.0
        if late >= _NOTABLE:
            log.info("that was %s late", timedelta(seconds=round(late)))

    # --- elections ----------------------------------------------------------------------------

    def take_over(self, notes: Mapping[str, Any]) -> dict[str, Any]:
        """Begin to lead, knowing what earlier leaders noted; return what to note now.

        For schedulers that share their memory by other means there is nothing to do.
        """
        self.clock_was_set()
        self._task_ids.clear()
        self._pause = self._away_until = 0.0  # the broker has just answered
        return {}

    def notes_on(self, entry: ScheduleEntry) -> dict[str, Any]:
        """Return what the next leader must know once an entry is sent."""
        return {}

    def stand_by(self) -> None:
        """Lead no longer: another beat sends now."""
        self._task_ids.clear()

    # --- memory -------------------------------------------------------------------------------

    def should_sync(self) -> bool:
        """Return whether it is time to write down what has run."""
        if self.sync_every_tasks and self._tasks_since_sync >= self.sync_every_tasks:
            return True
        return time.monotonic() - self._last_sync >= self.sync_every

    def _do_sync(self) -> None:
        try:
            self.sync()
        finally:
            self._last_sync = time.monotonic()
            self._tasks_since_sync = 0

    def sync(self) -> None:
        """Write down what has run; this scheduler has nowhere to."""

    def close(self) -> None:
        """Write down what has run, and let go of everything."""
        self.sync()

    @property
    def info(self) -> str:
        """Where what has run is written down."""
        return ""


def make_entries(
    cls: type[ScheduleEntry], given: Mapping[str, Any], app: Any
) -> dict[str, ScheduleEntry]:
    """Return the entries of a schedule; one that makes no sense is named in the log and left out.

    Raises ImproperlyConfigured if all are so.
    """
    made: dict[str, ScheduleEntry] = {}
    broken: list[ImproperlyConfigured] = []
    for name, one in given.items():
        try:
            made[name] = make_entry(cls, name, one, app)
        except ImproperlyConfigured as exc:
            broken.append(exc)
    if broken and not made:
        raise broken[0]
    for failure in broken:
        log.error("%s; this entry is never sent, the others are", failure)
    return made


def _evaluated(value: Any) -> Any:
    return value() if isinstance(value, BeatLazyFunc) else value
