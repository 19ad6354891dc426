"""Calls of coroutines on their way out: one thread sends them, so that no loop ever waits.

What has come while the thread was at the broker goes out together, one step for each place that
messages go to: the more is sent at once, the less each costs.
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..errors import BrokerConnectionError, PublishTimeout
from ..wire.message import Publication
from .drafts import BATCH, Draft, Gathering, Sender, gathered

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

#: Seconds after which a thread that has nothing to send ends.
_IDLE = 5.0


class Letter(NamedTuple):
    """One call of a coroutine, which waits for the future."""

    call: Callable[[], Any]
    #: Whether it publishes by itself, in steps of its own.
    alone: bool
    context: contextvars.Context
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    #: The time.monotonic at which it was handed in; for how many seconds it may be tried.
    since: float
    patience: float | None


class _Held(Gathering):
    """The messages of one call, with whoever is to publish each."""

    def __init__(self) -> None:
        super().__init__()
        self.producers: list[Sender] = []

    def add(self, publication: Publication, draft: Draft, producer: Sender) -> None:
        self.publications.append(publication)
        self.drafts.append(draft)
        self.producers.append(producer)


class _Made(NamedTuple):
    """A call that was made: what it returned, and what is to be published for it."""

    letter: Letter
    returned: Any
    held: _Held


class Outbox:
    """What coroutines of this process send for one app; made in any thread, used in loops.

    Its thread begins with the first call, and ends when for a while there was none.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._letters: deque[Letter] = deque()
        self._thread: threading.Thread | None = None
        #: Why the last step failed, as long as none has succeeded since.
        self._trouble: BrokerConnectionError | None = None

    async def send(
        self, call: Callable[[], T], *, alone: bool = False, patience: float | None = None
    ) -> T:
        """Return what `call` returns, once the broker has what it published.

        `call` runs in the thread, in the caller's context; without `alone` its messages go out
        with those of others.  While the broker is away, who has waited for `patience` seconds
        (None: without end) is not kept for another try.  Cancelled before its turn, nothing is
        sent; later, the message may be on its way.

        Raises what the call raises, BrokerConnectionError or PublishTimeout.
        """
        import asyncio  # heavy, and loaded where a loop runs

        if self._pid != os.getpid():
            self._start()
        loop = asyncio.get_running_loop()
        context, future = contextvars.copy_context(), loop.create_future()
        letter = Letter(call, alone, context, loop, future, time.monotonic(), patience)
        with self._changed:
            self._letters.append(letter)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="taskctl-outbox", daemon=True
                )
                self._thread.start()
            self._changed.notify()
        sent: T = await future
        return sent

    # --- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while letters := self._take():
            self._send(letters)

    def _take(self) -> list[Letter]:
        """Return what is there, as soon as there is something; none when the thread is to end."""
        with self._changed:
            if not self._letters:
                self._changed.wait(_IDLE)
            if not self._letters:
                self._thread = None
            return [self._letters.popleft() for _ in range(min(BATCH, len(self._letters)))]

    def _send(self, letters: Iterable[Letter]) -> None:
        lots: dict[Any, list[_Made]] = {}
        for letter in letters:
            if letter.alone:
                self._send_alone(letter)
            elif not letter.future.cancelled():
                self._make(letter, lots)
        for lot in lots.values():
            self._send_lot([made for made in lot if not self._is_vain(made.letter)])

    def _send_alone(self, letter: Letter) -> None:
        if self._is_vain(letter):
            return
        try:
            returned = letter.context.run(letter.call)
        except Exception as exc:
            self._note(exc)
            _tell([(letter, None, exc)])
        else:
            self._trouble = None
            _tell([(letter, returned, None)])

    def _make(self, letter: Letter, lots: dict[Any, list[_Made]]) -> None:
        """Make the messages of a call; they go with those for the same place."""
        held = _Held()
        try:
            returned = letter.context.run(_held_back, letter.call, held)
        except Exception as exc:
            _tell([(letter, None, exc)])
            return
        if not held.drafts:
            _tell([(letter, returned, None)])
            return
        place: Any = id(letter)
        if len(held.drafts) == 1:
            # A place that refuses messages refuses only the calls that name it.
            draft, policy = held.drafts[0], tuple(held.drafts[0].retry_policy.items())
            producer = id(held.producers[0])
            place = (producer, draft.exchange, draft.routing_key, draft.retry, policy)
        lots.setdefault(place, []).append(_Made(letter, returned, held))

    def _send_lot(self, lot: list[_Made]) -> None:
        if not lot:
            return
        publications = [one for made in lot for one in made.held.publications]
        drafts = [one for made in lot for one in made.held.drafts]
        try:
            lot[0].held.producers[0].publish(publications, drafts)
        except Exception as exc:
            self._note(exc)
            _tell([(made.letter, None, copy.copy(exc)) for made in lot])
        else:
            self._trouble = None
            _tell([(made.letter, made.returned, None) for made in lot])

    def _note(self, exc: Exception) -> None:
        if isinstance(exc, BrokerConnectionError):
            self._trouble = exc

    def _is_vain(self, letter: Letter) -> bool:
        """Return whether a call is not to be sent: nobody waits for it any more, or it has waited
        too long for a broker that is away, which it is told."""
        if letter.future.cancelled():
            return True
        if self._trouble is None or letter.patience is None:
            return False
        waited = time.monotonic() - letter.since
        if waited < letter.patience:
            return False
        exc = PublishTimeout(f"not sent within {waited:.1f} s: {self._trouble}")
        _tell([(letter, None, exc)])
        return True


def _held_back(call: Callable[[], T], held: _Held) -> T:
    gathered.set(held)
    try:
        return call()
    finally:
        gathered.set(None)


def _tell(told: list[tuple[Letter, Any, Exception | None]]) -> None:
    """Let the callers know, one call a loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Letter, Any, Exception | None]]] = {}
    for one in told:
        by_loop.setdefault(one[0].loop, []).append(one)
    for loop, some in by_loop.items():
        with contextlib.suppress(RuntimeError):  # closed in the meantime: nobody waits there
            loop.call_soon_threadsafe(_hand_over, some)


def _hand_over(told: list[tuple[Letter, Any, Exception | None]]) -> None:
    for letter, returned, exc in told:
        if letter.future.done():
            continue
        if exc is None:
            letter.future.set_result(returned)
        else:
            letter.future.set_exception(exc)
