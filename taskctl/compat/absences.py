"""Members of Celery's objects that ours have not: refused by name where they are first used.

`attach` gives each class a last resort for names that nobody found.  What it raises is an
AttributeError too, so that `hasattr` and `getattr(x, name, default)` do what they always do.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from taskctl.core.errors import TaskctlError, UnsupportedFeature

_INSIDE = "it is a part of Celery's inside"
_RECORD = "queues and exchanges are records that talk to no broker | use app.connection_for_write()"
_STORE = "a result backend here stores and fetches, no more | use AsyncResult and GroupResult"
_APART = f"{_INSIDE}: it knows no app | use the app you have it from"
_CLASSES = f"{_INSIDE}: the parts of an app cannot be replaced | derive from App instead"


class UnsupportedMember(TaskctlError, AttributeError):
    """Raised for a member that Celery's object of this kind has, and taskctl's has not.

    It reads as UnsupportedFeature does, which is an ImportError and so cannot be this one's base.
    """

    def __init__(self, feature: str, reason: str, instead: str = "") -> None:
        super().__init__(str(UnsupportedFeature(feature, reason, instead)))
        self.feature, self.reason, self.instead = feature, reason, instead


class Absent:
    """What one kind of object lacks: `names` for `reason | instead`, with its name in an error."""

    def __init__(self, home: str, shown: str, reasons: dict[str, str]) -> None:
        self.home, self.shown = home, shown
        self.reasons = {name: reason for reason, names in reasons.items() for name in names.split()}

    def holder(self) -> Any:
        """Return the class."""
        module, _, name = self.home.partition(":")
        return getattr(importlib.import_module(module), name)


_ABSENT = [
    Absent(
        "taskctl.core.app:App",
        "app",
        {
            f"{_INSIDE} | name task_serializer": "Pickler",
            f"{_INSIDE} | say namespace= to config_from_object": "namespace",
            f"{_INSIDE} | say typing=False to a task": "type_checker",
            f"{_INSIDE}: tasks are always run the fast way": "use_fast_trace_task",
        },
    ),
    Absent(
        "taskctl.core.tasks.task:Task",
        "Task",
        {
            "a message is no object of a class here | override before_start and after_return, "
            "or listen to task_received, task_revoked and task_failure": "Request Strategy",
            "the worker's way to a task is fixed | listen to task_received": "start_strategy",
            "the request of a run is kept per run, in no stack | use self.request, or "
            "current_task.request": "request_stack",
        },
    ),
    Absent(
        "taskctl.core.tasks.signature:Signature",
        "Signature",
        {
            "no call is held for an election | send it from one node": "election",
            f"{_INSIDE} | use link, link_error and set": "append_to_list_option extend_list_option",
        },
    ),
    Absent(
        "taskctl.core.tasks.chord:chord",
        "chord",
        {f"{_INSIDE} | use apply_async": "run"},
    ),
    Absent(
        "taskctl.core.tasks.asyncresult:AsyncResult",
        "AsyncResult",
        {f"{_INSIDE} | use then(callback)": "on_ready"},
    ),
    Absent(
        "taskctl.core.tasks.result:GroupResult",
        "GroupResult",
        {f"{_INSIDE} | use then(callback)": "on_ready"},
    ),
    Absent(
        "taskctl.core.tasks.registry:TaskRegistry",
        "app.tasks",
        {
            f"{_INSIDE} | import it from celery.exceptions": "NotRegistered",
            "all tasks are of one kind | go through app.tasks": "filter_types periodic regular",
        },
    ),
    Absent(
        "taskctl.core.schedules:crontab",
        "crontab",
        {f"{_INSIDE} | use remaining_estimate": "remaining_delta"},
    ),
    Absent(
        "taskctl.compat.members:Logging",
        "app.log",
        {
            f"{_INSIDE} | see the settings worker_log_format and worker_log_color": (
                "colored datefmt format task_datefmt task_format"
            )
        },
    ),
    Absent(
        "taskctl.core.remote.control:Control",
        "app.control",
        {f"{_INSIDE} | use broadcast and inspect": "Mailbox", _APART: "app"},
    ),
    Absent(
        "taskctl.core.remote.control:Inspect",
        "app.control.inspect()",
        {_APART: "app connection"},
    ),
    Absent(
        "taskctl.core.remote.app_events:Events",
        "app.events",
        {_CLASSES: "dispatcher_cls receiver_cls state_cls", _APART: "app"},
    ),
    Absent(
        "taskctl.core.config:Settings",
        "app.conf",
        {
            "settings are one mapping with no layers to change | use app.conf.update, and "
            "'taskctl config explain' to see where a value is from": (
                "bind_to changes defaults finalize key_t maps prefix swap_with "
                "maybe_warn_deprecated_settings"
            ),
            f"{_INSIDE} | use dict(app.conf)": "copy fromkeys",
            f"{_INSIDE} | use items(), keys() and values()": "iteritems iterkeys itervalues",
        },
    ),
    Absent(
        "taskctl.core.wire.queues:Queue",
        "kombu.Queue",
        {
            _RECORD: "attrs bind bind_to bindings can_cache_declaration cancel channel consume "
            "declare delete get is_bound maybe_bind no_declare on_declared purge queue_bind "
            "queue_declare queue_unbind revive unbind_from when_bound",
            f"{_INSIDE} | read the fields": "as_dict from_dict",
            f"{_INSIDE} | import it from kombu.exceptions": "ContentDisallowed",
        },
    ),
    Absent(
        "taskctl.core.wire.queues:Exchange",
        "kombu.Exchange",
        {
            _RECORD: "attrs bind bind_to binding can_cache_declaration channel declare delete "
            "is_bound maybe_bind passive publish revive unbind_from when_bound Message",
            f"{_INSIDE} | read the fields": "as_dict",
            f"{_INSIDE} | they are 1 and 2": "PERSISTENT_DELIVERY_MODE TRANSIENT_DELIVERY_MODE",
        },
    ),
    Absent(
        "taskctl.core.backends.base:Backend",
        "app.backend",
        {
            _STORE: "add_pending_result add_to_chord apply_chord chord_error_from_stack cleanup "
            "current_task_children decode decode_result delete_group encode encode_result "
            "ensure_chords_allowed exception_safe_to_retry exception_to_python "
            "fail_from_current_stack fallback_chord_unlock get_children get_group_meta "
            "get_result get_state get_status get_task_meta get_task_meta_for get_traceback "
            "is_cached iter_native mark_as_done mark_as_failure mark_as_retry mark_as_revoked "
            "mark_as_started meta_from_decoded on_backend_retryable_error on_chord_part_return "
            "on_task_call prepare_compression prepare_exception prepare_expires "
            "prepare_persistent prepare_value process_cleanup reload_group_result "
            "reload_task_result remove_pending_result restore_group save_group set_chord_size "
            "store_result task_result_exists wait_for wait_for_pending",
            _APART: "app",
            f"{_INSIDE} | see the settings result_*": (
                "accept always_retry base_sleep_between_retries_ms compression content_encoding "
                "content_type encoder is_async max_retries max_sleep_between_retries_ms "
                "retry_policy serializer subpolling_interval supports_autoexpire "
                "supports_failure_expires supports_native_join supports_result_compression "
                "thread_safe"
            ),
            f"{_INSIDE} | import it from celery.states or celery.exceptions": (
                "EXCEPTION_STATES READY_STATES UNREADY_STATES TimeoutError"
            ),
        },
    ),
]

#: Classes with a last resort from here, and the one they had before.
_attached: dict[type, Callable[[Any, str], Any] | None] = {}


def attach() -> None:
    """Let the classes refuse by name what they lack; done twice it does nothing more."""
    for absent in _ABSENT:
        holder = absent.holder()
        if holder not in _attached:
            _attached[holder] = holder.__dict__.get("__getattr__")
            holder.__getattr__ = _last_resort(absent, getattr(holder, "__getattr__", None))


def detach() -> None:
    """Take it back."""
    for holder, before in _attached.items():
        if before is None:
            del holder.__getattr__  # type: ignore[attr-defined]  # set by attach
        else:
            holder.__getattr__ = before  # type: ignore[attr-defined]
    _attached.clear()


def _last_resort(
    absent: Absent, before: Callable[[Any, str], Any] | None
) -> Callable[[Any, str], Any]:
    @functools.wraps(before or object.__getattribute__)
    def __getattr__(self: Any, name: str) -> Any:
        try:
            if before is not None:
                return before(self, name)
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self
            )
        except AttributeError:
            found = absent.reasons.get(name)
            if found is None:
                raise
        reason, _, instead = found.partition(" | ")
        raise UnsupportedMember(f"{absent.shown}.{name}", reason, instead)

    return __getattr__
