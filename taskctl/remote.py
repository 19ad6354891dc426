"""Asking the fleet, for `status`, `inspect` and `control`: whom, how long, and how it went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from taskctl.apps import shown_url, unreachable
from taskctl.command import AtLeast, Option
from taskctl.core.app import App
from taskctl.core.errors import BrokerConnectionError
from taskctl.core.redact import mask
from taskctl.core.remote.cluster import Answer, CommandReply, NodeRecord, UnknownNode, resolve

from .completions import nodes
from .failures import FAILED, OK, PARTIAL, UNAVAILABLE, CommandError, usage
from .tables import up

REMOTE = "Remote control options"


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
            shell_complete=nodes,
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


class Fleet:
    """The nodes of one app, asked in one way."""

    def __init__(self, app: App, asking: Asking) -> None:
        self.app = app
        self.asking = asking

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
        try:
            answer = self.app.control.cluster.ask(
                method,
                arguments,
                destination=asking.destination or None,
                timeout=asking.timeout,
                wait_for_all=self._more_than_registered(),
                callback=callback,
            )
        except UnknownNode as exc:
            raise usage(f"-d: {exc}") from exc
        except BrokerConnectionError as exc:
            raise unreachable(self.app, exc) from exc
        if not answer.replies:
            raise self._nobody(answer)
        for reply in answer.replies:
            reply.value = mask(reply.value)
        return answer

    def records(self) -> dict[str, NodeRecord]:
        """Return what registered nodes last said of themselves, by name."""
        try:
            return {node.name: node for node in self.app.control.cluster.nodes(self.asking.timeout)}
        except BrokerConnectionError as exc:
            raise unreachable(self.app, exc) from exc

    def targets(self) -> list[str]:
        """Return the names of the nodes a command would go to."""
        records = self.records()
        if not self.asking.destination:
            return sorted(name for name, node in records.items() if node.alive)
        try:
            return sorted(resolve(self.asking.destination, list(records.values())))
        except UnknownNode as exc:
            raise usage(f"-d: {exc}") from exc

    def exit_code(self, answer: Answer) -> int:
        """Return 1 if a node refused, 3 if one that was wanted is missing, else 0."""
        if any(error_of(reply.value) is not None for reply in answer.replies):
            return FAILED
        asking = self.asking
        silent = bool(answer.missing) and bool(asking.destination or asking.strict)
        few = asking.expect is not None and len(answer.replies) < asking.expect
        return PARTIAL if silent or few else OK

    def _more_than_registered(self) -> bool:
        """Whether nodes are wanted that do not register, as Celery's do not."""
        expect = self.asking.expect
        return expect is not None and expect > sum(node.alive for node in self.records().values())

    def _nobody(self, answer: Answer) -> CommandError:
        broker = shown_url(self.app.control.connection.url)
        waited = f"no worker answered in {answer.seconds:.1f} s"
        if not answer.missing:
            return CommandError(
                f"{waited}; none is registered at {broker}",
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


def seen(name: str, age: float | None) -> str:
    """Return a silent node and when it was last heard of."""
    return f"{name} never seen" if age is None else f"{name} seen {up(age)} ago"


def error_of(value: Any) -> str | None:
    """Return the message of a reply that refuses; None if it does not."""
    if isinstance(value, dict) and "error" in value and "ok" not in value:
        return str(value["error"])
    return None


def content(value: Any) -> Any:
    """Return what is inside an `{"ok": ...}` reply; other replies as they are."""
    return value["ok"] if isinstance(value, dict) and set(value) == {"ok"} else value


def by_name(answer: Answer) -> dict[str, Any]:
    """Return replies by node; a second node of the same name is kept as `name#2`."""
    found: dict[str, Any] = {}
    for reply in answer.replies:
        name, count = reply.node, 1
        while name in found:
            count += 1
            name = f"{reply.node}#{count}"
        found[name] = reply.value
    return found


def native(answer: Answer) -> dict[str, Any]:
    """Return the `nodes` of a native document."""
    nodes: dict[str, Any] = {}
    for name, value in by_name(answer).items():
        message = error_of(value)
        if message is None:
            nodes[name] = {"ok": content(value)}
        else:
            nodes[name] = {"error": {"code": "refused", "message": message}}
    return nodes
