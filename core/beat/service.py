"""Beat as it runs: one loop that asks its scheduler what is due, and sleeps in between.

`Service` runs in the process that calls it, `EmbeddedBeat` in a child of a worker.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import selectors
import signal
import sys
import time
from datetime import timedelta
from types import FrameType
from typing import Any, NoReturn

from .. import process
from ..clock import seconds
from ..errors import BrokerConnectionError, ImproperlyConfigured, TaskctlError
from ..loader import import_object
from ..messaging.leading import NotLeading
from ..signals import beat_embedded_init, beat_init
from .election import Election, who
from .persistent import PersistentScheduler
from .scheduler import Scheduler, make_entries
from .voice import Voice

log = logging.getLogger("taskctl.beat")

#: Longest sleep (s): so soon it is noticed that the clock was set, or that the parent is gone.
LONGEST = 5.0
#: Seconds of difference between the wall clock and the clock that only runs, from which on
#: somebody has set the wall clock, or the machine has slept.
_CLOCK_WAS_SET = 1.0
#: Seconds a send that has begun may take when the end is asked for; then it counts as not sent.
_GRACE = 1.0
#: Seconds before a dead embedded beat is started again; doubles up to the last.
FIRST_DELAY, LAST_DELAY = 1.0, 30.0
#: Seconds after which one that lived has started well.
_WELL = 60.0

#: Names under which the settings of Celery's users know the schedulers of ours.
_OURS = {
    "celery.beat.PersistentScheduler": PersistentScheduler,
    "celery.beat.Scheduler": Scheduler,
}
#: Entry points that give schedulers short names.
_GROUPS = ("taskctl.beat_schedulers", "celery.beat_schedulers")


class _Cut(BaseException):
    """Raised out of a send that takes too long, when the end was asked for."""


class Service:
    """Sends what is due until it is stopped.

    `scheduler_cls` is a class, its path, or a short name that an entry point gives it; the
    setting `beat_scheduler` if None.  `start` runs in the calling thread; `stop` may be called
    from another, and from a signal handler.
    """

    def __init__(
        self,
        app: Any,
        max_interval: float | None = None,
        schedule_filename: str | None = None,
        scheduler_cls: Any = None,
        remote_control: bool | None = None,
        hostname: str | None = None,
    ) -> None:
        self.app = app
        self.max_interval = max_interval or seconds(app.conf.beat_max_loop_interval) or None
        self.schedule_filename = schedule_filename or app.conf.beat_schedule_filename
        self.scheduler_cls = find_scheduler(scheduler_cls or app.conf.beat_scheduler)
        if remote_control is None:
            remote_control = app.conf.beat_enable_remote_control
        self.voice = Voice(app, hostname) if remote_control else None
        #: Our part in the election of who sends; None if there is none.
        self.election = Election(app, hostname) if app.conf.beat_election else None
        self._led = False
        self._waker, self._sleeper = os.pipe()
        os.set_blocking(self._sleeper, False)
        self._stopped = False
        self._ticking = False
        self._clock = time.time() - time.monotonic()

    def get_scheduler(self, lazy: bool = False) -> Scheduler:
        """Return a new scheduler; a lazy one is for looking at only."""
        return self.scheduler_cls(
            app=self.app,
            schedule_filename=self.schedule_filename,
            max_interval=self.max_interval,
            lazy=lazy,
            **self._for_election(),
        )

    def _for_election(self) -> dict[str, Any]:
        ours = isinstance(self.scheduler_cls, type) and issubclass(
            self.scheduler_cls, PersistentScheduler
        )
        return {"elects": True} if ours and self.election is not None else {}

    @functools.cached_property
    def scheduler(self) -> Scheduler:
        """The scheduler, set up: its file is known to be usable."""
        scheduler = self.get_scheduler()
        scheduler.election = self.election
        return scheduler

    # --- life ---------------------------------------------------------------------------------

    def start(self, embedded_process: bool = False) -> None:
        """Send what is due until `stop`.

        Raises ScheduleFileError if the scheduler cannot be set up, ImproperlyConfigured for an
        entry that makes no sense.
        """
        scheduler, cut = self.scheduler, False
        try:
            beat_init.send(sender=self)
            if embedded_process:
                beat_embedded_init.send(sender=self)
            if self.voice is not None:
                self.voice.open()
            self.on_ready()
            try:
                while not self._stopped:
                    self.turn(scheduler)
            except _Cut:
                cut = True
        finally:
            self._ticking = False
            self.sync()
            if self.election is not None:
                self.election.close(release=not cut)
            if self.voice is not None:
                self.voice.close()

    def turn(self, scheduler: Scheduler) -> None:
        """Send what is due, remember it, and sleep until there is more to do."""
        self._look_at_clock(scheduler)
        wait = LONGEST
        if self.leads(scheduler):
            wait = self._tick(scheduler)
            if scheduler.should_sync():
                scheduler._do_sync()
        if self.voice is not None:
            self.voice.answer()
        now = time.monotonic()
        self.look(now)
        if not self._stopped:
            self._sleep(min(wait, self.longest(now)))

    def leads(self, scheduler: Scheduler) -> bool:
        """Return whether it is for us to send; take over, or stand by, when that changes."""
        election = self.election
        if election is None:
            return True
        self._ticking = True
        try:
            leads = election.look() and self._begin(election, scheduler)
        finally:
            self._ticking = False
        if self._led and not leads:
            scheduler.stand_by()
        elif not leads and election.stands_by():
            self._stand_by(election)
        self._led = leads
        return leads

    def _begin(self, election: Election, scheduler: Scheduler) -> bool:
        """Take up what earlier leaders sent, if a term has begun; return whether we lead yet."""
        if not election.begins:
            return True
        try:
            election.begun(scheduler.take_over(election.notes()))
        except (BrokerConnectionError, NotLeading) as exc:
            log.warning("cannot begin to lead: %s", exc)
            return False
        return True

    def _stand_by(self, election: Election) -> None:
        """Say now and then who leads, and what it does not send."""
        if not election.due_for_reminder():
            return
        log.info("standing by: %s leads %s", who(election.leader()), election.group)
        with contextlib.suppress(BrokerConnectionError):
            noted = election.notes().keys()
            strange = self.scheduler.schedule.keys() - noted
            if strange and noted:  # else the leader has only begun
                log.warning(
                    "the beat that leads %s does not know %s: nobody sends them; set beat_group "
                    "to let both send",
                    election.group, ", ".join(sorted(strange)),
                )  # fmt: skip

    def _tick(self, scheduler: Scheduler) -> float:
        """Send all that is due, for at most a second; return how long nothing will be."""
        until = time.monotonic() + 1.0
        self._ticking = True
        try:
            while (wait := scheduler.tick() or 0.0) <= 0 and not self._stopped:
                if time.monotonic() > until:
                    break
            return max(wait, 0.0)
        except NotLeading:
            return 0.0
        finally:
            self._ticking = False

    def _look_at_clock(self, scheduler: Scheduler) -> None:
        clock = time.time() - time.monotonic()
        jump, self._clock = clock - self._clock, clock
        if abs(jump) < _CLOCK_WAS_SET:
            return
        span = timedelta(seconds=round(abs(jump)))
        if jump > 0:
            log.warning("the clock went ahead by %s; what is due is sent once", span)
        else:
            log.warning("the clock was set back by %s", span)
        scheduler.clock_was_set()

    def longest(self, now: float) -> float:
        """Return the longest sleep (s) from `now` on (monotonic); for subclasses."""
        looks = [LONGEST]
        if self.voice is not None:
            looks.append(self.voice.poll_interval())
        if self.election is not None:
            looks.append(self.election.next_look())
        return min(looks)

    def _sleep(self, wait: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            if self.voice is not None and (fd := self.voice.fileno()) is not None:
                selector.register(fd, selectors.EVENT_READ)
            selector.select(wait)

    def look(self, now: float) -> None:
        """Called in every turn, at `now` (monotonic); for subclasses."""

    def on_ready(self) -> None:
        """Called once, when the schedule is set up; for subclasses."""

    def stop(self, wait: bool = False) -> None:
        """Let `start` return; a send that has begun is finished."""
        self._stopped = True
        with contextlib.suppress(BlockingIOError):
            os.write(self._sleeper, b"x")

    def sync(self) -> None:
        """Write down what has run, and let go of the schedule's file."""
        self.scheduler.close()

    # --- signals ------------------------------------------------------------------------------

    def obey_signals(self, *numbers: signal.Signals) -> None:
        """Stop at these; call in the main thread."""
        signal.signal(signal.SIGALRM, self._cut)
        for number in numbers:
            signal.signal(number, self._obey)
            # A slow system call of a driver is restarted rather than failed.
            signal.siginterrupt(number, False)

    def _obey(self, number: int, frame: FrameType | None) -> None:
        self.stop()
        signal.setitimer(signal.ITIMER_REAL, _GRACE)

    def _cut(self, number: int, frame: FrameType | None) -> None:
        if self._stopped and self._ticking:
            raise _Cut


def find_scheduler(spec: Any) -> type[Scheduler]:
    """Return a class of schedulers by its path, or by a short name.

    Raises ImproperlyConfigured if there is none, or if it is not of ours.
    """
    found = spec if isinstance(spec, type) else _named(str(spec))
    if isinstance(found, type) and issubclass(found, Scheduler):
        return found
    raise ImproperlyConfigured(
        f"beat_scheduler {spec!r} is no scheduler: derive it from taskctl.beat.Scheduler"
    )


def _named(name: str) -> Any:
    if known := _OURS.get(name.replace(":", ".")):
        return known
    if "." not in name and ":" not in name:
        # It brings the email package with it: 10 ms and 2 MiB, for the few who use short names.
        from importlib.metadata import entry_points

        for group in _GROUPS:
            for point in entry_points(group=group, name=name):
                return point.load()
    try:
        return import_object(name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ImproperlyConfigured(f"beat_scheduler {name!r}: {exc}") from exc


class EmbeddedBeat:
    """Beat in one child process of a worker.

    `start` forks: call it before there are threads, and before the pool has children.  The child
    dies with this process, however that ends, and obeys TERM alone: of a Ctrl-C the worker is
    told, which calls `stop`.  Call `tend` in every turn of the loop: it starts a child that has
    died again, more and more slowly.
    """

    def __init__(self, app: Any, schedule: str | None = None, scheduler: Any = None) -> None:
        self.app = app
        self.schedule = schedule
        # What makes no sense is an error here, in the worker, not in the child again and again.
        self.scheduler = find_scheduler(scheduler or app.conf.beat_scheduler)
        make_entries(self.scheduler.Entry, app.conf.beat_schedule, app)
        self.pid: int | None = None
        self._parent = os.getpid()
        self._started_at = 0.0
        self._next_start = 0.0
        self._delay = FIRST_DELAY

    def start(self) -> None:
        """Fork the child."""
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        # The child lets signals in when its own handlers stand.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self._live(blocked)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self.pid = pid
        self._started_at = time.monotonic()

    def is_alive(self) -> bool:
        """Return whether the child runs."""
        if self.pid is None:
            return False
        try:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            ended, status = self.pid, 0
        if ended:
            self._note_death(os.waitstatus_to_exitcode(status))
        return self.pid is not None

    def _note_death(self, code: int) -> None:
        now = time.monotonic()
        if now - self._started_at >= _WELL:
            self._delay = FIRST_DELAY
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        log.error("beat (pid %d) %s; starting it again in %g s", self.pid, how, self._delay)
        self.pid = None
        self._next_start = now + self._delay
        self._delay = min(LAST_DELAY, self._delay * 2)

    def tend(self, now: float) -> None:
        """Start a child that has died again, if it is time; `now` is time.monotonic()."""
        if not self.is_alive() and now >= self._next_start:
            try:
                self.start()
            except OSError as exc:
                self._next_start = now + self._delay
                log.error("cannot fork beat: %s; trying again in %g s", exc, self._delay)

    def next_look(self, now: float) -> float | None:
        """Return seconds until `tend` has something to do; None while the child lives."""
        return None if self.pid is not None else max(0.0, self._next_start - now)

    def stop(self, timeout: float = 5.0) -> None:
        """End the child: TERM, and KILL if it takes longer than `timeout` seconds."""
        if self.pid is None or not self.is_alive():
            self.pid = None
            return
        os.kill(self.pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout
        while self._still_there():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.005)
        self.pid = None

    def _still_there(self) -> bool:
        assert self.pid is not None
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] == 0
        except ChildProcessError:
            return False

    # --- in the child -------------------------------------------------------------------------

    def _live(self, blocked: set[int | signal.Signals]) -> NoReturn:
        code = 70
        try:
            code = self._serve(blocked)
        except TaskctlError as exc:
            log.error("beat: %s", exc)
            code = 78 if isinstance(exc, ImproperlyConfigured) else 73
        except BaseException:
            log.critical("beat broke down", exc_info=True)
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    stream.flush()
            os._exit(code)

    def _serve(self, blocked: set[int | signal.Signals]) -> int:
        signal.set_wakeup_fd(-1)
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.app.set_default()
        self.app.set_current()
        service = _Child(self.app, self._parent, self.schedule, self.scheduler)
        service.obey_signals(signal.SIGTERM)
        process.die_with_parent(self._parent, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        log.info("beat runs here (pid %d)", os.getpid())
        service.start(embedded_process=True)
        return 0


class _Child(Service):
    """Beat that ends when its parent is gone, where the kernel does not see to it."""

    def __init__(self, app: Any, parent: int, schedule: str | None, scheduler: Any) -> None:
        # The worker around it answers remote commands.
        super().__init__(
            app, schedule_filename=schedule, scheduler_cls=scheduler, remote_control=False
        )
        self._parent = parent

    def look(self, now: float) -> None:
        if os.getppid() != self._parent:
            self.stop()
