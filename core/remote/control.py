"""`app.control`: tell nodes what to do and ask how they are; Celery's client interface."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import DuplicateNodenameWarning
from ..messaging.connection import Connection
from ..messaging.mailbox import ClientMailbox
from ..wire.command_message import CommandReply
from .cluster import Cluster

Replies = list[dict[str, Any]]


class Inspect:
    """Questions to nodes; each method returns `{node: answer}`, or None if nobody answered.

    `destination` is a list of node names; given as one string, the methods return that node's
    answer alone.  `timeout` is seconds.
    """

    def __init__(
        self,
        control: Control,
        destination: str | Iterable[str] | None = None,
        timeout: float = 1.0,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        limit: int | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> None:
        self.control = control
        self.destination = destination
        self.timeout = timeout
        self.callback = callback
        self.limit = limit
        self.pattern = pattern
        self.matcher = matcher

    def ask(self, method: str, **arguments: Any) -> Any:
        """Send any inspect command by name."""
        single = self.destination if isinstance(self.destination, str) else None
        replies = self.control.broadcast(
            method,
            arguments=arguments,
            destination=[single] if single else self.destination,
            reply=True,
            timeout=self.timeout,
            limit=self.limit,
            callback=self.callback,
            pattern=self.pattern,
            matcher=self.matcher,
        )
        merged = _merge(replies or [])
        if single:
            return merged.get(single)
        return merged or None

    def active(self, safe: bool | None = None) -> Any:
        return self.ask("active", safe=safe)

    def active_queues(self) -> Any:
        return self.ask("active_queues")

    #: What Celery calls it; tools for Celery use it.
    _request = ask

    def clock(self) -> Any:
        return self.ask("clock")

    def conf(self, with_defaults: bool = False) -> Any:
        return self.ask("conf", with_defaults=with_defaults)

    def hello(self, from_node: str, revoked: list[str] | None = None) -> Any:
        return self.ask("hello", from_node=from_node, revoked=revoked or [])

    def memdump(self, samples: int = 10) -> Any:
        """Ask for up to `samples` of the memory samples taken so far; they are forgotten then."""
        return self.ask("memdump", samples=samples)

    def memsample(self) -> Any:
        """Ask how much memory nodes take, as text."""
        return self.ask("memsample")

    def objgraph(self, type: str = "Request", n: int = 200, max_depth: int = 10) -> Any:
        """Let nodes draw what keeps objects of a type alive, each into a file of its own."""
        return self.ask("objgraph", num=n, max_depth=max_depth, type=type)

    def ping(self) -> Any:
        return self.ask("ping")

    def query_task(self, *ids: Any) -> Any:
        """Ask where tasks are; ids one by one or as one list."""
        flat = list(ids[0]) if len(ids) == 1 and isinstance(ids[0], list | tuple) else list(ids)
        return self.ask("query_task", ids=flat)

    def registered(self, *taskinfoitems: str) -> Any:
        return self.ask("registered", taskinfoitems=list(taskinfoitems))

    registered_tasks = registered

    def report(self) -> Any:
        return self.ask("report")

    def reserved(self, safe: bool | None = None) -> Any:
        return self.ask("reserved", safe=safe)

    def revoked(self) -> Any:
        return self.ask("revoked")

    def scheduled(self, safe: bool | None = None) -> Any:
        return self.ask("scheduled", safe=safe)

    def stacks(self) -> Any:
        """Ask where in the code nodes and their children are, as text."""
        return self.ask("stacks")

    def stats(self) -> Any:
        return self.ask("stats")


class Control:
    """Commands to nodes.

    Each method takes `destination` (list of node names; None for all), `reply` (default False:
    do not wait) and `timeout` (seconds, default 1); with `reply` it returns `[{node: answer}]`.
    """

    def __init__(
        self, connection: Connection, mailbox: ClientMailbox, purge: Callable[[], int]
    ) -> None:
        self.connection = connection
        self.mailbox = mailbox
        self.cluster = Cluster(connection, mailbox)
        self._purge = purge

    def broadcast(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        destination: str | Iterable[str] | None = None,
        *,
        reply: bool = False,
        timeout: float = 1.0,
        limit: int | None = None,
        callback: Callable[[dict[str, Any]], Any] | None = None,
        pattern: str | None = None,
        matcher: str | None = None,
    ) -> Replies | None:
        """Send a command by name; return the replies if they are asked for.

        Waiting ends as soon as every named node, or every registered one, has answered.
        """
        names = [destination] if isinstance(destination, str) else destination
        names = list(names or ()) or None  # as in Celery, no names are all nodes
        if not reply:
            self.mailbox.cast(
                command,
                arguments,
                destination=names,
                pattern=pattern,
                matcher=matcher,
                timeout=timeout,
            )
            return None
        seen = None if callback is None else lambda answer: callback(_as_dict(answer))
        if pattern is None and limit is None:
            answer = self.cluster.ask(
                command, arguments, destination=names, timeout=timeout, callback=seen
            )
            return [_as_dict(one) for one in answer.replies]
        collected = self.mailbox.call(
            command,
            arguments,
            destination=names,
            pattern=pattern,
            matcher=matcher,
            timeout=timeout,
            limit=limit,
            callback=seen,
        )
        return [_as_dict(one) for one in collected.replies]

    def inspect(self, destination: str | Iterable[str] | None = None, **options: Any) -> Inspect:
        """Return an object to ask questions with; see Inspect."""
        return Inspect(self, destination, **options)

    def purge(self) -> int:
        """Drop all waiting messages of the configured queues; return how many."""
        return self._purge()

    discard_all = purge

    def _tell(self, command: str, arguments: dict[str, Any], options: dict[str, Any]) -> Any:
        destination = options.pop("destination", None)
        return self.broadcast(command, arguments, destination, **options)

    def ping(
        self,
        destination: str | Iterable[str] | None = None,
        timeout: float = 1.0,
        **options: Any,
    ) -> Replies:
        """Return `[{node: {"ok": "pong"}}]` of the nodes that live."""
        replies = self.broadcast("ping", {}, destination, reply=True, timeout=timeout, **options)
        return replies or []

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Iterable[str] | None = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **options: Any,
    ) -> Any:
        """Make nodes skip a task; with `terminate`, kill it if it runs."""
        ids = task_id if isinstance(task_id, str) else list(task_id)
        arguments = {"task_id": ids, "terminate": terminate, "signal": signal}
        return self.broadcast("revoke", arguments, destination, **options)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        destination: Iterable[str] | None = None,
        terminate: bool = False,
        signal: str = "SIGTERM",
        **options: Any,
    ) -> Any:
        """Make nodes skip tasks that bear a stamp, now and later; `headers` are values by name."""
        arguments = {"headers": dict(headers), "terminate": terminate, "signal": signal}
        return self.broadcast("revoke_by_stamped_headers", arguments, destination, **options)

    def election(self, id: str, topic: str, action: Any = None, **options: Any) -> Any:
        """Let one node of all act: for the topic "task", send the signature `action`."""
        arguments = {"id": id, "topic": topic, "action": action}
        return self._tell("election", arguments, options)

    def terminate(
        self, task_id: str | Iterable[str], signal: str = "SIGTERM", **options: Any
    ) -> Any:
        """Make nodes skip a task, and kill it if it runs."""
        return self.revoke(task_id, terminate=True, signal=signal, **options)

    def rate_limit(self, task_name: str, rate_limit: str | float | None, **options: Any) -> Any:
        """Limit how often a task starts on each node: "10/m", a number per second, 0 for none."""
        arguments = {"task_name": task_name, "rate_limit": rate_limit}
        return self._tell("rate_limit", arguments, options)

    def time_limit(
        self, task_name: str, soft: float | None = None, hard: float | None = None, **options: Any
    ) -> Any:
        """Set the time limits of a task, in seconds."""
        arguments = {"task_name": task_name, "soft": soft, "hard": hard}
        return self._tell("time_limit", arguments, options)

    def add_consumer(
        self,
        queue: str,
        exchange: str | None = None,
        exchange_type: str = "direct",
        routing_key: str | None = None,
        options: dict[str, Any] | None = None,
        destination: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Let nodes take tasks from a queue; `options` are further queue options."""
        arguments = {
            "queue": queue,
            "exchange": exchange,
            "exchange_type": exchange_type,
            "routing_key": routing_key,
            **(options or {}),
        }
        return self.broadcast("add_consumer", arguments, destination, **kwargs)

    def cancel_consumer(self, queue: str, **options: Any) -> Any:
        """Stop nodes from taking tasks of a queue."""
        return self._tell("cancel_consumer", {"queue": queue}, options)

    def enable_events(self, **options: Any) -> Any:
        """Let nodes send task events."""
        return self._tell("enable_events", {}, options)

    def disable_events(self, **options: Any) -> Any:
        """Let nodes send no task events."""
        return self._tell("disable_events", {}, options)

    def heartbeat(self, **options: Any) -> Any:
        """Let nodes send a heartbeat event now."""
        return self._tell("heartbeat", {}, options)

    def pool_grow(self, n: int = 1, **options: Any) -> Any:
        """Add `n` children to each pool."""
        return self._tell("pool_grow", {"n": n}, options)

    def pool_shrink(self, n: int = 1, **options: Any) -> Any:
        """Remove `n` children from each pool, as they become idle."""
        return self._tell("pool_shrink", {"n": n}, options)

    def pool_restart(
        self,
        modules: Iterable[str] | None = None,
        reload: bool = False,
        reloader: Any = None,
        **options: Any,
    ) -> Any:
        """Replace the children of each pool, as they end their tasks.

        `modules` (by default those of the app) are imported first, anew with `reload`.
        """
        names = None if modules is None else list(modules)
        arguments = {"modules": names, "reload": reload, "reloader": reloader}
        return self._tell("pool_restart", arguments, options)

    def quiet(self, **options: Any) -> Any:
        """Let nodes take no new tasks; they finish what runs, and go on answering."""
        return self._tell("quiet", {}, options)

    def unquiet(self, **options: Any) -> Any:
        """Let nodes take new tasks again."""
        return self._tell("unquiet", {}, options)

    def autoscale(self, max: int, min: int, **options: Any) -> Any:
        """Change the limits of autoscaling."""
        return self._tell("autoscale", {"max": max, "min": min}, options)

    def shutdown(self, destination: Iterable[str] | None = None, **options: Any) -> Any:
        """Shut nodes down warmly."""
        return self.broadcast("shutdown", {}, destination, **options)


def _as_dict(reply: CommandReply) -> dict[str, Any]:
    return {reply.node: reply.value}


def _merge(replies: Replies) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for reply in replies:
        for node, value in reply.items():
            if node in merged:
                warnings.warn(
                    f"two nodes are called {node}; the later answer is shown",
                    DuplicateNodenameWarning,
                    stacklevel=3,
                )
            merged[node] = value
    return merged
