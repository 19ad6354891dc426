"""Every remote command, once: its name, its arguments, its help.

Worker, client and command line are built from this one table.  Names, arguments and replies are
Celery 5.7's (protocol: remote control); a command marked `new` is taskctl's own.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

INSPECT: Literal["inspect"] = "inspect"
CONTROL: Literal["control"] = "control"


class Argument(NamedTuple):
    """One argument of a command, as the command line takes it by position.

    `type` is the converter; `required` ones come first; a `variadic` one takes all that is left.
    """

    name: str
    type: type
    help: str
    required: bool = False
    variadic: bool = False
    default: Any = None


class Command(NamedTuple):
    """One remote command.

    `alias` is Celery's older method name.  `destructive` ones ask before they are sent.
    `hidden` ones are spoken between workers only.  `example` is what help shows.
    """

    name: str
    kind: Literal["inspect", "control"]
    help: str
    arguments: tuple[Argument, ...] = ()
    alias: str | None = None
    destructive: bool = False
    hidden: bool = False
    example: str = ""

    def signature(self) -> str:
        """Return the name with its arguments, as usage lines show it."""
        words = [self.name]
        for arg in self.arguments:
            word = arg.name.upper() + ("..." if arg.variadic else "")
            words.append(word if arg.required else f"[{word}]")
        return " ".join(words)


_TASK = Argument("task_name", str, "name of the task", required=True)
_N = Argument("n", int, "how many children", default=1)

_TABLE = (
    # --- inspect -----------------------------------------------------------------------------
    Command("active", INSPECT, "Show the tasks that run now", alias="dump_active"),
    Command("active_queues", INSPECT, "Show the queues nodes take tasks from"),
    Command("clock", INSPECT, "Show the logical clock of nodes"),
    Command(
        "conf",
        INSPECT,
        "Show the settings of nodes, secrets masked",
        (Argument("with_defaults", bool, "also settings left at their default", default=False),),
        alias="dump_conf",
    ),
    Command(
        "hello",
        INSPECT,
        "Exchange clock and revoked ids with a starting node",
        (
            Argument("from_node", str, "who asks", required=True),
            Argument("revoked", list, "ids it knows as revoked"),
        ),
        hidden=True,
    ),
    Command("ping", INSPECT, "Ask nodes whether they live"),
    Command(
        "query_task",
        INSPECT,
        "Show where tasks are, by id",
        (Argument("ids", str, "task ids", required=True, variadic=True),),
        example="taskctl inspect query_task 8f0c1a2b-0d6f-4f52-9c3e-0a8e1c6a7c11",
    ),
    Command(
        "registered",
        INSPECT,
        "Show the tasks nodes know",
        (Argument("taskinfoitems", str, "task attributes to show", variadic=True),),
        alias="dump_tasks",
        example="taskctl inspect registered rate_limit",
    ),
    Command("report", INSPECT, "Show versions, platform and settings of nodes"),
    Command("reserved", INSPECT, "Show tasks that were received and wait", alias="dump_reserved"),
    Command("revoked", INSPECT, "Show the ids of revoked tasks", alias="dump_revoked"),
    Command("scheduled", INSPECT, "Show tasks that wait for their ETA", alias="dump_schedule"),
    Command("stats", INSPECT, "Show counters, pool, broker and memory of nodes"),
    # --- control -----------------------------------------------------------------------------
    Command(
        "add_consumer",
        CONTROL,
        "Let nodes take tasks from a queue",
        (
            Argument("queue", str, "name of the queue", required=True),
            Argument("exchange", str, "its exchange"),
            Argument("exchange_type", str, "type of the exchange"),
            Argument("routing_key", str, "its routing key"),
        ),
        example="taskctl control add_consumer video -d w1@web3",
    ),
    Command(
        "autoscale",
        CONTROL,
        "Change the limits of autoscaling",
        (
            Argument("max", int, "most children"),
            Argument("min", int, "fewest children"),
        ),
        example="taskctl control autoscale 10 2",
    ),
    Command(
        "cancel_consumer",
        CONTROL,
        "Stop nodes from taking tasks of a queue",
        (Argument("queue", str, "name of the queue", required=True),),
        destructive=True,
        example="taskctl control cancel_consumer video",
    ),
    Command("disable_events", CONTROL, "Stop sending task events"),
    Command("enable_events", CONTROL, "Send task events"),
    Command("heartbeat", CONTROL, "Send a heartbeat event now"),
    Command("pool_grow", CONTROL, "Add children to the pool", (_N,)),
    Command("pool_shrink", CONTROL, "Remove children from the pool", (_N,)),
    Command(
        "rate_limit",
        CONTROL,
        "Limit how often a task starts, per node",
        (_TASK, Argument("rate_limit", str, "10/s, 10/m, 10/h or 0", required=True)),
        example="taskctl control rate_limit proj.thumbnail 10/m",
    ),
    Command(
        "revoke",
        CONTROL,
        "Make nodes skip tasks, by id",
        (
            Argument("task_id", str, "task ids", required=True, variadic=True),
            Argument("terminate", bool, "also kill it if it runs", default=False),
            Argument("signal", str, "signal for --terminate", default="SIGTERM"),
        ),
        example="taskctl control revoke 8f0c1a2b-0d6f-4f52-9c3e-0a8e1c6a7c11",
    ),
    Command("shutdown", CONTROL, "Shut nodes down warmly", destructive=True),
    Command(
        "terminate",
        CONTROL,
        "Kill running tasks, by id",
        (
            Argument("signal", str, "signal to send", required=True),
            Argument("task_id", str, "task ids", required=True, variadic=True),
        ),
        destructive=True,
        example="taskctl control terminate KILL 8f0c1a2b-0d6f-4f52-9c3e-0a8e1c6a7c11",
    ),
    Command(
        "time_limit",
        CONTROL,
        "Set the time limits of a task, in seconds",
        (
            _TASK,
            Argument("soft", float, "raise SoftTimeLimitExceeded after this", required=True),
            Argument("hard", float, "kill the child after this"),
        ),
        example="taskctl control time_limit proj.thumbnail 60 120",
    ),
)

COMMANDS: dict[str, Command] = {command.name: command for command in _TABLE}
ALIASES: dict[str, str] = {c.alias: c.name for c in _TABLE if c.alias}


def find(method: str) -> Command | None:
    """Return the command a method name or alias stands for."""
    return COMMANDS.get(ALIASES.get(method, method))
