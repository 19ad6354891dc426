"""The request context: what a running task knows of its own call, as `task.request`.

A child makes one for every task it runs, so it is cheap to make: it keeps what the run needs and
works out the rest when it is asked for.  Names and defaults are Celery's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import current
from ..errors import DecodeError
from ..wire.message import Message, decode_envelope, unpack_body
from ..wire.task_message import (
    KNOWN_HEADERS,
    TaskBody,
    TaskMessage,
    custom_headers,
    decode_body,
)

#: What a context says when nobody told it, in the order `repr` shows.
_DEFAULTS: dict[str, Any] = {
    "lang": "py",
    "task": None,
    "id": None,
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": None,
    "time_limit": None,
    "soft_time_limit": None,
    "root_id": None,
    "parent_id": None,
    "argsrepr": None,
    "kwargsrepr": None,
    "origin": None,
    "ignore_result": None,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": None,
    "compression": None,
    "properties": None,
    "reply_to": None,
    "correlation_id": None,
    "delivery_info": None,
    "headers": None,
    "hostname": None,
    "args": None,
    "kwargs": None,
    "callbacks": None,
    "errbacks": None,
    "chain": None,
    "chord": None,
    "taskset": None,
    "called_directly": True,
    "is_eager": False,
    "deliveries": 0,
    "redelivered": False,
    "queue": "",
    "loglevel": None,
    "logfile": None,
    "utc": None,
}


def open_body(message: TaskMessage, accept: frozenset[str] | None) -> TaskBody:
    """Return the arguments and embedded signatures of a task message whose headers are read.

    Raises ContentDisallowed, DecodeError or InvalidTaskError.
    """
    encoding = message.content_encoding or "utf-8"
    compression = message.headers.compression
    raw = Message(
        body=unpack_body(message.body, message.properties.body_encoding, encoding),
        content_type=message.content_type or "application/data",
        content_encoding=encoding,
        headers={"compression": compression} if compression else {},
    )
    return decode_body(raw, accept)


class Context:
    """The request of one call.

    Any field may be set, by a task too: what `callbacks`, `chain` and `chord` hold when the task
    returns is what is done.  A custom header reads as an attribute of its own name.
    """

    id: str
    args: Any
    kwargs: Any
    callbacks: list[Any] | None
    errbacks: list[Any] | None
    chain: list[Any] | None
    chord: Any
    headers: dict[str, Any] | None
    hostname: str | None
    deliveries: int
    redelivered: bool
    #: Name of the queue it was taken from.
    queue: str
    called_directly: bool
    _limits: tuple[float | None, float | None]

    def __init__(self, fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        self._children: list[Any] | None = None
        self._message: TaskMessage | None = None
        self._envelope = b""
        self.update(fields, **more)
        if "headers" not in self.__dict__:
            own = {k: v for k, v in self.__dict__.items() if _is_custom(k)}
            self.headers = own or None

    @classmethod
    def of_message(
        cls,
        message: TaskMessage,
        body: TaskBody,
        envelope: bytes,
        hostname: str | None = None,
        deliveries: int = 0,
        redelivered: bool = False,
        hard: float | None = None,
        soft: float | None = None,
        queue: str = "",
    ) -> Context:
        """Return the context of a task message that is about to run.

        `hard` and `soft` are the limits in force, which the task or a setting may have given.
        """
        self = cls.__new__(cls)
        # Set one by one, without __init__: half the time, on the path of every task.
        self._children = None
        self._message = message
        self._envelope = envelope
        self._limits = (hard, soft)
        self.id = message.headers.id or ""
        self.args = body.args
        self.kwargs = body.kwargs
        self.callbacks = body.callbacks
        self.errbacks = body.errbacks
        self.chain = body.chain
        self.chord = body.chord
        self.hostname = hostname
        self.deliveries = deliveries
        self.redelivered = redelivered
        self.queue = queue
        self.called_directly = False
        return self

    def __getattr__(self, name: str) -> Any:
        """Work out what has not been set; runs once for each name that is asked for."""
        if name.startswith("_"):
            raise AttributeError(name)
        values = self.__dict__
        message = values.get("_message")
        if message is not None:
            if name in _FROM_MESSAGE:
                value = values[name] = _FROM_MESSAGE[name](self, message)
                return value
            if name in _FROM_HEADERS:
                value = values[name] = getattr(message.headers, name)
                return value
        if name in _DEFAULTS:
            return values["group"] if name == "taskset" and "group" in values else _DEFAULTS[name]
        if name != "headers" and self.headers and name in self.headers:
            return self.headers[name]
        raise AttributeError(f"the request of {self.task}[{self.id}] has no {name!r}")

    @property
    def children(self) -> list[Any]:
        """Results of the calls this task has made so far."""
        if self._children is None:
            self._children = []
        return self._children

    @children.setter
    def children(self, results: list[Any] | None) -> None:
        self._children = results

    def update(self, fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        """Set many fields; a `timelimit` (hard, soft) also sets its two parts."""
        given = {**(fields or {}), **more}
        if "timelimit" in given:
            pair = given["timelimit"] or (None, None)
            given.setdefault("time_limit", pair[0])
            given.setdefault("soft_time_limit", pair[1])
        if "children" in given:
            self._children = given.pop("children")
        self.__dict__.update(given)

    def clear(self) -> None:
        """Forget everything: an empty context is left."""
        self.__dict__.clear()
        self.__init__()  # type: ignore[misc]  # as if it were made anew

    def get(self, name: str, default: Any = None) -> Any:
        """Return a field or custom header, or `default` if there is none."""
        return getattr(self, name, default)

    def as_dict(self) -> dict[str, Any]:
        """Return every field and custom header, by name."""
        fields = {name: getattr(self, name) for name in _DEFAULTS}
        fields.update(self.headers or {})
        set_by_hand = {k: v for k, v in self.__dict__.items() if not k.startswith("_")}
        fields.update(set_by_hand)
        fields["children"] = self._children or []
        return fields

    def as_execution_options(self) -> dict[str, Any]:
        """Return the `apply_async` options that make the same call again, as a retry does."""
        hard, soft = self.timelimit or (None, None)
        options = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": soft,
            "time_limit": hard,
            "headers": self.headers,
            "retries": self.retries,
            "reply_to": self.reply_to,
            "ignore_result": self.ignore_result,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        if self.stamped_headers is not None and self.stamps is not None:
            options["stamped_headers"] = self.stamped_headers
            options.update(self.stamps)
        return options

    def __repr__(self) -> str:
        return f"<Context: {self.as_dict()!r}>"


def _is_custom(name: str) -> bool:
    return not name.startswith("_") and name not in _DEFAULTS and name not in KNOWN_HEADERS


def _delivery_info(context: Context, message: TaskMessage) -> dict[str, Any]:
    info, priority = message.properties.delivery_info, message.properties.priority
    app = current.get_app(make=False)
    if app is not None:
        priority = app.queues.priority_of(priority, context.queue or info.routing_key)
    return {
        "exchange": info.exchange,
        "routing_key": info.routing_key,
        "priority": priority,
        "redelivered": context.redelivered or bool(info.redelivered),
    }


def _raw(context: Context, part: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = getattr(decode_envelope(context._envelope), part)
    except DecodeError:
        return {}
    return found


def _custom_headers(context: Context, message: TaskMessage) -> dict[str, Any] | None:
    return custom_headers(_raw(context, "headers")) or None


def _properties(context: Context, message: TaskMessage) -> dict[str, Any]:
    return _raw(context, "properties")


def _limit(index: int) -> Callable[[Context, TaskMessage], float | None]:
    def limit(context: Context, message: TaskMessage) -> float | None:
        in_force: float | None = context._limits[index]
        return message.headers.limits()[index] if in_force is None else in_force

    return limit


#: Fields worked out from the message when they are asked for.
_FROM_MESSAGE: dict[str, Callable[[Context, TaskMessage], Any]] = {
    "lang": lambda context, message: message.headers.lang or "py",
    "retries": lambda context, message: message.headers.retries or 0,
    "replaced_task_nesting": lambda context, message: message.headers.replaced_task_nesting or 0,
    "root_id": lambda context, message: message.headers.root_id or message.headers.id,
    "timelimit": lambda context, message: list(message.headers.limits()),
    "time_limit": _limit(0),
    "soft_time_limit": _limit(1),
    "taskset": lambda context, message: message.headers.group,
    "correlation_id": lambda context, message: message.properties.correlation_id,
    "reply_to": lambda context, message: message.properties.reply_to,
    "delivery_info": _delivery_info,
    "headers": _custom_headers,
    "properties": _properties,
}
#: Fields that stand in the message's headers under their own name.
_FROM_HEADERS = frozenset(
    "task id shadow eta expires group group_index parent_id argsrepr kwargsrepr origin "
    "ignore_result stamped_headers stamps compression".split()
)
