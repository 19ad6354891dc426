"""Cameras: pictures of the fleet's state, taken again and again.

A user's camera is a subclass of Polaroid with an `on_shutter`; `taskctl events --camera` runs it.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from ..errors import ImproperlyConfigured
from ..signals import Signal
from .event_state import State

log = logging.getLogger("taskctl.events")

_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*([smh]))?\s*")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600}


class Repeated:
    """A function that a thread calls every `seconds`; what it raises is logged."""

    def __init__(self, seconds: float, fun: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._seconds = seconds
        self._fun = fun
        self._args = args
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="taskctl-camera", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic() + self._seconds
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self()
            due = max(due + self._seconds, time.monotonic())

    def __call__(self) -> None:
        """Call it now."""
        try:
            self._fun(*self._args)
        except Exception:
            log.exception("the camera broke down; the next picture is tried all the same")

    def cancel(self) -> None:
        """Call it no more; one call that has begun is waited for."""
        self._stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()


class Timer:
    """What a camera asks to be called by."""

    def call_repeatedly(
        self, seconds: float, fun: Callable[..., Any], args: tuple[Any, ...] = ()
    ) -> Repeated:
        """Call `fun` every `seconds` until the result is cancelled."""
        return Repeated(seconds, fun, args)


class Polaroid:
    """Takes a picture of `state` every `freq` seconds, at most `maxrate` ("10/m") of them.

    Override `on_shutter(state)`, during which the state stands still, and `on_cleanup()`, called
    every `cleanup_freq` seconds. With `clear_after` what has ended is forgotten after each
    picture. As a context manager it works from entry to exit; the last picture is taken at exit.

    A picture is taken in a thread of the camera's own.
    """

    timer: Any = None
    shutter_signal = Signal("shutter_signal", ("state",))
    cleanup_signal = Signal("cleanup_signal")
    clear_after = False

    _tref: Any = None
    _ctref: Any = None

    def __init__(
        self,
        state: State,
        freq: float = 1.0,
        maxrate: str | float | None = None,
        cleanup_freq: float = 3600.0,
        timer: Any = None,
        app: Any = None,
    ) -> None:
        self.app = app
        self.state = state
        self.freq = freq
        self.cleanup_freq = cleanup_freq
        self.timer = timer or self.timer or Timer()
        self.logger = log
        self.maxrate = None if not maxrate else parse_rate(maxrate)
        self._next_picture = 0.0

    def install(self) -> None:
        """Begin."""
        self._tref = self.timer.call_repeatedly(self.freq, self.capture)
        self._ctref = self.timer.call_repeatedly(self.cleanup_freq, self.cleanup)

    def cancel(self) -> None:
        """Take the last picture, and stop."""
        if self._tref is not None:
            self._tref.cancel()
            self._tref()
        if self._ctref is not None:
            self._ctref.cancel()

    def on_shutter(self, state: State) -> Any:
        """Called for each picture; for subclasses."""

    def on_cleanup(self) -> Any:
        """Called now and then; for subclasses."""

    def capture(self) -> None:
        """Take a picture now, if the rate allows it."""
        self.state.freeze_while(self.shutter, clear_after=self.clear_after)

    def shutter(self) -> None:
        """Take a picture if the rate allows it; the state stands still already."""
        now = time.monotonic()
        if self.maxrate is not None:
            if now < self._next_picture:
                return
            self._next_picture = now + 1 / self.maxrate
        self.shutter_signal.send(sender=self.state, state=self.state)
        self.on_shutter(self.state)

    def cleanup(self) -> None:
        """Clean up now."""
        self.cleanup_signal.send(sender=self.state)
        self.on_cleanup()

    def __enter__(self) -> Polaroid:
        self.install()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.cancel()


def parse_rate(text: str | float) -> float:
    """Return how many a second `10/m`, `2/s`, `100/h` or a plain number is.

    Raises ImproperlyConfigured.
    """
    found = _RATE.fullmatch(str(text))
    if found is None or float(found[1]) <= 0:
        raise ImproperlyConfigured(f"{text!r} is no rate: write 10/m, 2/s, 100/h or a number")
    return float(found[1]) / _SECONDS[found[2]]
