"""Asking the fleet, for `status`, `inspect` and `control`: whom, how long, and how it went."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from taskctl.apps import shown_url, unreachable
from taskctl.command import AtLeast, Option
from taskctl.core.app import App
from taskctl.core.errors import BrokerConnectionError
from taskctl.core.redact import mask
from taskctl.core.remote.cluster import Answer, CommandReply, NodeRecord, UnknownNode, resolve
from taskctl.core.remote.remembered import Remembered
from taskctl.core.remote.shapes import sound

from .console import Console
from .failures import FAILED, OK, PARTIAL, UNAVAILABLE, CommandError, usage
from .tables import up

REMOTE = "Remote control options"
#: Seconds beyond the timeout after which a broker that hangs is given up.
_GRACE = 0.1
#: Brokers that carry none of Celery's nodes.
_OURS_ALONE = ("sqlite:", "memory:")

T = TypeVar("T")


@dataclass(frozen=True)
class Asking:
    """Whom to ask and how long; `expect` is how many must answer, `strict` all registered."""

    destination: tuple[str, ...] = ()
    timeout: float = 1.0
    expect: int | None = None
    strict: bool = False


def remote_options() -> list[click.Parameter]:
    """Return the options of every command that asks nodes."""
    return [
        Option(
            ["-d", "--destination"], multiple=True, metavar="LIST", group=REMOTE,
            help="nodes: w1@host, w1, w*@web?, @host, queue:images; !w2 leaves one out",
        ),
        Option(
            ["-t", "--timeout"], type=AtLeast(float, 0.01), default=1.0,
            metavar="SECONDS", group=REMOTE, help="longest time to wait (default: 1.0)",
        ),
        Option(
            ["--expect"], type=AtLeast(int, 1), metavar="N", group=REMOTE,
            help="exit 3 if fewer nodes answer",
        ),
        Option(
            ["--strict"], is_flag=True, group=REMOTE,
            help="exit 3 if a registered node is silent",
        ),
    ]  # fmt: skip


#: Commands that nodes obey also if they start later.
_LASTING = ("revoke", "revoke_by_stamped_headers")


class Fleet:
    """The nodes of one app, asked in one way."""

    def __init__(self, app: App, asking: Asking) -> None:
        self.app = app
        self.asking = asking
        #: Called with the registry's records whenever they were read.
        self.heard: Callable[[list[NodeRecord]], None] = lambda records: None
        cluster = app.control.cluster
        if not cluster.connection.url.startswith(_OURS_ALONE):
            cluster.remembered = Remembered(cluster.connection.url)
        self._deadline = time.monotonic() + asking.timeout

    def ask(
        self,
        method: str,
        arguments: Mapping[str, Any] | None = None,
        callback: Callable[[CommandReply], Any] | None = None,
    ) -> Answer:
        """Return what came back, secrets masked.

        Raises CommandError if nobody answered, the broker is away, or a node is unknown.
        """
        asking = self.asking
        self._deadline = time.monotonic() + asking.timeout

        def heard(reply: CommandReply) -> None:
            reply.value = sound(method, reply.value)
            if callback is not None:
                callback(reply)

        try:
            answer = self._bounded(
                lambda: self.app.control.cluster.ask(
                    method,
                    arguments,
                    destination=asking.destination or None,
                    timeout=asking.timeout,
                    wait_for_all=self._more_than_registered(),
                    callback=None if callback is None else heard,
                )
            )
        except UnknownNode as exc:
            raise usage(f"-d: {exc}") from exc
        if not answer.replies and not self.stands(method, arguments):
            raise self._nobody(answer)
        for reply in answer.replies:
            reply.value = sound(method, mask(reply.value))
        return answer

    def stands(self, method: str, arguments: Mapping[str, Any] | None) -> bool:
        """Return whether a command holds without anybody to answer it: it is noted at the broker.

        To kill what runs takes a node.
        """
        kills = bool((arguments or {}).get("terminate"))
        return method in _LASTING and not kills and not self.asking.destination

    def records(self) -> list[NodeRecord]:
        """Return what registered nodes last said of themselves."""
        left = max(_GRACE, self._deadline - time.monotonic())
        found = self._bounded(lambda: self.app.control.cluster.nodes(left))
        self.heard(found)
        return found

    def targets(self) -> dict[str, NodeRecord | None]:
        """Return the nodes a command would go to, with what they said last."""
        records = {node.name: node for node in self.records() if node.alive}
        if not self.asking.destination:
            return dict(sorted(records.items()))
        try:
            names = resolve(self.asking.destination, list(records.values()))
        except UnknownNode as exc:
            raise usage(f"-d: {exc}") from exc
        return {name: records.get(name) for name in sorted(names)}

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue."""
        connection = self.app.control.connection
        return self._bounded(lambda: connection.call(lambda broker: broker.size(queue)))

    def exit_code(self, answer: Answer) -> int:
        """Return 1 if a node refused, 3 if one that was wanted is missing, else 0."""
        asking, as_celery = self.asking, os.environ.get("TASKCTL_STRICT") == "0"
        refused = any(error_of(reply.value) is not None for reply in answer.replies)
        if refused and not as_celery:
            return FAILED
        if asking.strict and (answer.missing or answer.unnamed):
            return PARTIAL
        if asking.destination and answer.missing and not as_celery:
            return PARTIAL
        few = asking.expect is not None and len(answer.replies) < asking.expect
        return PARTIAL if few else OK

    def _bounded(self, action: Callable[[], T]) -> T:
        """Return what `action` does, in time whatever the broker and its drivers do.

        Raises CommandError if the broker is away.
        """
        try:
            return within(self._deadline + _GRACE - time.monotonic(), action)
        except BrokerConnectionError as exc:
            raise unreachable(self.app, exc) from exc
        except TimeoutError as exc:
            url = shown_url(self.app.control.connection.url)
            late = BrokerConnectionError(
                f"broker {url} did not answer within {self.asking.timeout:g} s"
            )
            raise unreachable(self.app, late) from exc

    def _more_than_registered(self) -> bool:
        """Whether nodes are wanted that do not register, as Celery's do not."""
        expect = self.asking.expect
        if expect is None:
            return False
        nodes = self.app.control.cluster.nodes(self.asking.timeout)
        return expect > sum(node.alive for node in nodes)

    def _nobody(self, answer: Answer) -> CommandError:
        broker = shown_url(self.app.control.connection.url)
        waited = f"no worker answered in {answer.seconds:.1f} s"
        if not answer.missing:
            listening = f"{answer.unnamed} listen" if answer.unnamed else "none is registered"
            return CommandError(
                f"{waited}; {listening} at {broker}",
                "is one running, and on this broker? start one: taskctl worker",
                exit_code=UNAVAILABLE,
                code="no_reply",
            )
        named = "named" if self.asking.destination else "registered"
        count = len(answer.missing)
        return CommandError(
            f"{waited}; {count} {'is' if count == 1 else 'are'} {named} but silent:",
            ", ".join(seen(name, age) for name, age in answer.missing.items()),
            exit_code=UNAVAILABLE,
            code="no_reply",
        )


def within(seconds: float, action: Callable[[], T]) -> T:
    """Return what `action` returns, or raise what it raises; TimeoutError after `seconds`.

    A name server or a socket that hangs cannot be called back: whoever waits for it is left
    behind, in a thread that ends with the program.
    """
    told: list[tuple[T | None, BaseException | None]] = []

    def run() -> None:
        try:
            told.append((action(), None))
        except BaseException as exc:
            told.append((None, exc))

    errand = threading.Thread(target=run, name="taskctl-errand", daemon=True)
    errand.start()
    errand.join(max(0.0, seconds))
    if not told:
        raise TimeoutError(f"not done within {seconds:.1f} s")
    value, exc = told[0]
    if exc is not None:
        raise exc
    return value  # type: ignore[return-value]


def warn_of_namesakes(console: Console, answer: Answer) -> None:
    """Say which nodes share a name, if any do."""
    for name, pids in answer.duplicates().items():
        who = f" (pid {', '.join(map(str, pids))})" if pids else ""
        console.warn(f"two nodes are called {name}{who}; name each with -n")


def seen(name: str, age: float | None) -> str:
    """Return a silent node and when it was last heard of."""
    return f"{name} never seen" if age is None else f"{name} seen {up(age)} ago"


def silence(answer: Answer) -> str:
    """Return who did not answer, in a few words; empty if all did."""
    named = ", ".join(answer.missing)
    if not answer.unnamed:
        return f"silent: {named}" if named else ""
    more = f"{answer.unnamed} that listen{'s' if answer.unnamed == 1 else ''}"
    return f"silent: {named} and {more}" if named else f"silent: {more}"


def error_of(value: Any) -> str | None:
    """Return the message of a reply that refuses; None if it does not."""
    if isinstance(value, dict) and "error" in value and "ok" not in value:
        return str(value.get("detail") or value["error"])
    return None


def content(value: Any) -> Any:
    """Return what is inside an `{"ok": ...}` reply; other replies as they are."""
    return value["ok"] if isinstance(value, dict) and "ok" in value else value


def by_name(answer: Answer) -> dict[str, Any]:
    """Return replies by node; those of two nodes of one name as `name#pid`."""
    return {
        name: reply.value for name, reply in zip(answer.names(), answer.replies, strict=True)
    }  # fmt: skip


def native(answer: Answer) -> dict[str, Any]:
    """Return the `nodes` of a native document."""
    return {name: native_value(value) for name, value in by_name(answer).items()}


def native_value(value: Any) -> dict[str, Any]:
    """Return one reply as native documents hold it."""
    message = error_of(value)
    if message is not None:
        return {"error": {"code": "refused", "message": message}}
    return value if isinstance(value, dict) and "ok" in value else {"ok": value}
