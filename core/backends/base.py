"""The contract every result backend keeps.

A backend stores encoded metas (`wire.result_meta`) and waits for them; it does not compose.
It gets a URL and options and reads no settings.  It is safe to use from several threads of one
process; after a fork, open another one.

A missing meta means PENDING.  SUCCESS is final: a later write to the same id is skipped.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import BackendError
from ..redact import mask_url
from ..wire.chord_part import Count, Part
from ..wire.outcome import StoredMeta
from .watching import Watch


class Backend(ABC):
    """One open line to where results are kept.

    `expires` is how long a result is kept, in seconds (None or 0: for ever);
    `failure_expires` the same for FAILURE (None: as `expires`), `chord_expires` for the counts
    of chords (None: as `expires`).

    Everything may raise BackendError when the backend is gone.
    """

    #: Seconds between two looks of the polling `wait`; siblings that are told need no look.
    poll_interval = 0.05
    #: Whether results are kept where other processes can read them.
    persistent = True
    #: Whether results travel to whoever called, as messages, and so are told where to.
    travels = False
    #: Whether any bytes can be kept, and so `result_compression` is honoured.
    compresses = False
    #: Most bytes that one meta may have; None is without limit.
    max_bytes: int | None = None
    #: Yields (id, fields) of tasks as they become ready; given to it by the app it belongs to,
    #: see `tasks.arrivals.get_many`.
    get_many: Callable[..., Iterator[tuple[str, dict[str, Any]]]]
    #: Whether a chord may be started: its header's results can be read by whoever joins them.
    joins_chords = True
    #: Whether parts of chords are counted here, by `count_part`.  Where they are not, the task
    #: `celery.chord_unlock` looks at all of them, again and again.
    counts_parts = False
    #: Whether the header of every chord must be given to `keep_header` before it is sent, for
    #: a backend whose `load_parts` has no values; else only a header that holds groups is.
    keeps_headers = False
    #: Whether steps of workflows can be kept here, by `store_steps`.
    keeps_steps = False

    def __init__(
        self,
        url: str,
        *,
        options: Mapping[str, Any] | None = None,
        expires: float | None = 86400.0,
        failure_expires: float | None = None,
        chord_expires: float | None = None,
    ) -> None:
        self.url = url
        self.options: Mapping[str, Any] = options or {}
        self.expires = expires
        self.failure_expires = failure_expires
        self.chord_expires = expires if chord_expires is None else chord_expires

    def as_uri(self, include_password: bool = False) -> str:
        """Return its URL, without what is secret in it unless `include_password`."""
        return self.url if include_password else mask_url(self.url)

    @property
    def joins_results(self) -> bool:
        """Whether whoever joins a chord reads the results of its tasks, so that all are stored."""
        return self.keeps_headers or not self.counts_parts

    @property
    def at_once(self) -> Backend:
        """The same backend for those who must not wait: it tries everything once only."""
        return self

    def may_pass(self, exc: BackendError) -> bool:
        """Return whether trying again makes sense: the server was out of reach, or too busy."""
        return True

    def lifetime(self, state: str) -> float | None:
        """Return how long a meta of `state` is kept, in seconds; None means for ever."""
        if state == "FAILURE" and self.failure_expires is not None:
            return self.failure_expires or None
        return self.expires or None

    @abstractmethod
    def open(self) -> None:
        """Connect; opening an open backend does nothing."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every descriptor."""

    @abstractmethod
    def store(self, batch: Sequence[StoredMeta]) -> None:
        """Write all metas, in order, and tell whoever waits; never over a SUCCESS."""

    @abstractmethod
    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the metas that exist, by task id."""

    def expect(self, task_ids: Iterable[str]) -> None:
        """Be told of these results from now on: called before their tasks are published, so
        that none can slip by.  Does nothing where waiting polls."""

    def forsake(self, task_ids: Iterable[str]) -> None:
        """Stop being told of these results."""

    def wait(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None = None,
    ) -> dict[str, bytes]:
        """Return as soon as a meta of any of `task_ids` is there that is not in `known`, at the
        latest at `deadline` (time.monotonic; None: never give up).

        `known` holds the metas the caller has looked at already: hand in what the last `wait`
        or `load` returned, or a STARTED meta ends every wait at once.  Returns what is stored
        now, by id; the caller looks at the states and waits again for the unfinished.
        """
        while True:
            metas = self.load(task_ids)
            if is_news(metas, known):
                return metas
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                return metas
            time.sleep(
                self.poll_interval if remaining is None else min(self.poll_interval, remaining)
            )

    def watch(self) -> Watch:
        """Return a watch for many who wait: coroutines, which share one thread that hears.

        It polls; siblings that are told of results return one that is, too.
        """
        return Watch(self.load, (self.poll_interval, max(self.poll_interval, 0.2)))

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        """Return up to `limit` ids that begin so and have a meta, in no order.

        It may look at every key of the store: for people who type, not for programs.  A store
        that cannot look finds nothing.
        """
        return []

    @abstractmethod
    def forget(self, task_ids: Sequence[str]) -> None:
        """Remove these metas."""

    @abstractmethod
    def store_group(self, group_id: str, value: bytes) -> None:
        """Keep a saved group (an encoded result tuple)."""

    @abstractmethod
    def load_group(self, group_id: str) -> bytes | None:
        """Return a saved group, or None."""

    @abstractmethod
    def forget_group(self, group_id: str) -> None:
        """Remove a saved group."""

    # --- chords, where `counts_parts` -------------------------------------------------------
    #
    # A chord is known by the id of its header's group.  In the order of its life: keep_header (see
    # `keeps_headers`), begin_chord,
    # count_part for each part, then one owner's load_parts, hold_chord, end_chord (or
    # fail_chord).  Whoever owns it holds a claim that ends by itself: when the owner dies, a part
    # that is counted again takes over.

    def keep_header(self, group_id: str, value: bytes) -> None:
        """Keep the results of a header that is about to be sent (an encoded result tuple), for
        `load_group` to return while the chord lasts."""
        self.store_group(group_id, value)

    def begin_chord(self, group_id: str, size: int) -> None:
        """Say how many parts the chord has; called just before its last header task is sent.

        Parts may have been counted before.  What an earlier run of the same group left as its
        end is forgotten: a frozen chord may be sent again.
        """
        raise NotImplementedError(f"{type(self).__name__} counts no parts of chords")

    def grow_chord(self, group_id: str, more: int = 1) -> None:
        """Expect `more` parts than its sender said; called inside a part that is not counted."""
        raise NotImplementedError(f"{type(self).__name__} counts no parts of chords")

    def count_part(self, part: Part, token: str, claim: float) -> Count:
        """Count a part once, however often it comes, and claim a chord that is complete.

        All of it is one atomic step.  A part is known by its task id and index.  Only one caller
        owns a complete chord at a time: `token` is who, `claim` for how many seconds.  After
        `end_chord` nothing is counted any more, and the answer is `done`.
        """
        raise NotImplementedError(f"{type(self).__name__} counts no parts of chords")

    def load_parts(self, group_id: str) -> list[bytes]:
        """Return the members of all parts, by index, those without one last.

        Empty where `keeps_headers`: then the values are the results of the saved group.
        """
        raise NotImplementedError(f"{type(self).__name__} counts no parts of chords")

    def hold_chord(self, group_id: str, token: str, claim: float) -> bool:
        """Hold the claim for `claim` seconds from now; return whether it is still ours.

        A claim that has ended, and that nobody took, is taken again.
        """
        raise NotImplementedError(f"{type(self).__name__} counts no parts of chords")

    def end_chord(self, group_id: str, token: str, remember: float) -> bool:
        """Forget the parts: the body is published.  Return whether the claim was still ours.

        For `remember` seconds, parts that come again are told that the chord is done.
        """
        raise NotImplementedError(f"{type(self).__name__} counts no parts of chords")

    def fail_chord(self, group_id: str) -> None:
        """Let the chord never be complete again: it has failed, and all have been told.

        Its parts are left to expire.
        """
        raise NotImplementedError(f"{type(self).__name__} counts no parts of chords")

    # --- steps of workflows, where `keeps_steps` ----------------------------------------------
    #
    # What follows a task, encoded, for messages that only refer to it; see tasks/references.py.
    # A step is written once, before any message names it.

    def store_steps(self, steps: Mapping[str, bytes], lifetime: float | None) -> None:
        """Keep these steps, by id, for `lifetime` seconds (None: for ever).

        When it returns all of them can be loaded, by everybody.
        """
        raise NotImplementedError(f"{type(self).__name__} keeps no steps of workflows")

    def load_steps(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return the steps that exist, by id."""
        raise NotImplementedError(f"{type(self).__name__} keeps no steps of workflows")

    def forget_steps(self, ids: Sequence[str], remember: float) -> None:
        """Let these steps, or those that exist, go in `remember` seconds, or sooner if they do so
        anyway."""
        raise NotImplementedError(f"{type(self).__name__} keeps no steps of workflows")

    @abstractmethod
    def expire(self) -> int:
        """Drop what has outlived its lifetime; return how many (0 where the store does it)."""


def is_news(metas: Mapping[str, bytes], known: Mapping[str, bytes] | None) -> bool:
    """Return whether `metas` hold anything that `known` does not."""
    if not known:
        return bool(metas)
    return any(known.get(task_id) != meta for task_id, meta in metas.items())
