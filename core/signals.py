"""Signals: points at which a user's code may listen in.

Names and arguments are Celery's.  A receiver's exception is logged and returned, not raised.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

from .errors import UnsupportedFeature

log = logging.getLogger("taskctl.signals")

Receiver = Callable[..., Any]


class Signal:
    """One point to listen at.

    `connect` works as a function and as a decorator, with or without arguments; it holds
    receivers weakly unless `weak` is false.  `sender` filters by identity (strings by value).
    A receiver takes `signal`, `sender` and the arguments of the signal as keywords.
    """

    def __init__(self, name: str, providing_args: tuple[str, ...] = (), reraise: bool = False):
        self.name = name
        self.providing_args = providing_args
        self.reraise = reraise
        self.receivers: list[tuple[Any, Any, Callable[[], Receiver | None]]] = []
        self._lock = threading.Lock()

    def connect(
        self,
        fn: Receiver | None = None,
        sender: Any = None,
        weak: bool = True,
        dispatch_uid: Any = None,
        retry: bool = False,
    ) -> Any:
        """Call `fn` whenever the signal is sent; returns `fn`, or a decorator without it.

        Raises UnsupportedFeature for `retry`: a receiver is called once.
        """
        if retry:
            raise UnsupportedFeature(
                "Signal.connect(retry=True)", "a receiver is called once", "try again inside of it"
            )

        def connect_it(receiver: Receiver) -> Receiver:
            key = dispatch_uid if dispatch_uid is not None else id(receiver)
            with self._lock:
                self._drop(key, sender)
                self.receivers.append((key, sender, _reference(receiver, weak)))
            return receiver

        return connect_it if fn is None else connect_it(fn)

    def disconnect(
        self, fn: Receiver | None = None, sender: Any = None, dispatch_uid: Any = None
    ) -> bool:
        """Stop calling `fn`; return whether it was connected."""
        key = dispatch_uid if dispatch_uid is not None else id(fn)
        with self._lock:
            return self._drop(key, sender)

    def _drop(self, key: Any, sender: Any) -> bool:
        kept = [r for r in self.receivers if not (r[0] == key and r[1] is sender)]
        dropped = len(kept) != len(self.receivers)
        self.receivers = kept
        return dropped

    def has_listeners(self, sender: Any = None) -> bool:
        """Return whether sending would call anybody."""
        return any(_matches(wanted, sender) for _, wanted, _ in self.receivers)

    def send(self, sender: Any = None, **named: Any) -> list[tuple[Receiver, Any]]:
        """Call every receiver; return (receiver, what it returned or raised)."""
        if not self.receivers:
            return []
        responses: list[tuple[Receiver, Any]] = []
        for _, wanted, reference in list(self.receivers):
            receiver = reference()
            if receiver is None or not _matches(wanted, sender):
                continue
            try:
                responses.append((receiver, receiver(signal=self, sender=sender, **named)))
            except Exception as exc:
                if self.reraise:
                    raise
                log.exception("receiver %r of signal %s raised", receiver, self.name)
                responses.append((receiver, exc))
        return responses

    #: What Celery's users also call it: exceptions are never raised.
    send_robust = send

    def __repr__(self) -> str:
        return f"<Signal: {self.name} providing_args={set(self.providing_args)!r}>"


def _reference(receiver: Receiver, weak: bool) -> Callable[[], Receiver | None]:
    if not weak:
        return lambda: receiver
    if hasattr(receiver, "__self__"):
        return weakref.WeakMethod(receiver)
    try:
        return weakref.ref(receiver)
    except TypeError:
        return lambda: receiver


def _matches(wanted: Any, sender: Any) -> bool:
    if wanted is None or wanted is sender:
        return True
    return isinstance(wanted, str) and wanted == sender


def _signal(name: str, args: str = "", reraise: bool = False) -> Signal:
    return Signal(name, tuple(args.split()), reraise)


before_task_publish = _signal(
    "before_task_publish", "body exchange routing_key headers properties declare retry_policy"
)
after_task_publish = _signal("after_task_publish", "body headers exchange routing_key")
task_sent = _signal("task_sent", "task_id task args kwargs eta taskset")
task_received = _signal("task_received", "request")
task_prerun = _signal("task_prerun", "task_id task args kwargs")
task_postrun = _signal("task_postrun", "task_id task args kwargs retval state")
task_success = _signal("task_success", "result runtime")
task_retry = _signal("task_retry", "request reason einfo")
task_failure = _signal("task_failure", "task_id exception args kwargs traceback einfo")
task_internal_error = _signal(
    "task_internal_error", "task_id args kwargs request exception traceback einfo"
)
task_revoked = _signal("task_revoked", "request terminated signum expired")
task_rejected = _signal("task_rejected", "message exc")
task_unknown = _signal("task_unknown", "message exc name id")

celeryd_init = _signal("celeryd_init", "instance conf options")
celeryd_after_setup = _signal("celeryd_after_setup", "instance conf")
import_modules = _signal("import_modules", reraise=True)
worker_init = _signal("worker_init")
worker_ready = _signal("worker_ready")
worker_before_create_process = _signal("worker_before_create_process")
worker_process_init = _signal("worker_process_init")
worker_process_shutdown = _signal("worker_process_shutdown", "pid exitcode")
worker_shutting_down = _signal("worker_shutting_down", "sig how exitcode")
worker_shutdown = _signal("worker_shutdown")
heartbeat_sent = _signal("heartbeat_sent")
setup_logging = _signal("setup_logging", "loglevel logfile format colorize", reraise=True)
after_setup_logger = _signal("after_setup_logger", "logger loglevel logfile format colorize")
after_setup_task_logger = _signal(
    "after_setup_task_logger", "logger loglevel logfile format colorize"
)
beat_init = _signal("beat_init")
beat_embedded_init = _signal("beat_embedded_init")
user_preload_options = _signal("user_preload_options", "app options")
