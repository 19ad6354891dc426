"""Every remote command, once: its name, its arguments, its help.

Worker, client and command line are built from this one table.  Names, arguments and replies are
Celery 5.7's (protocol: remote control); a command marked `new` is taskctl's own.  Commands that an
app adds are in `panel`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

INSPECT: Literal["inspect"] = "inspect"
CONTROL: Literal["control"] = "control"


class Argument(NamedTuple):
    """One argument of a command, as the command line takes it by position.

    `type` converts a word; `required` ones come first; a `variadic` one takes all that is left.
    An `option` has no place among the words: it is given as --name.
    """

    name: str
    type: Callable[[str], Any]
    help: str
    required: bool = False
    variadic: bool = False
    default: Any = None
    option: bool = False


class Command(NamedTuple):
    """One remote command.

    `alias` is Celery's older method name.  `destructive` ones ask before they are sent.
    `hidden` ones are spoken between workers only.  `example` is what help shows.  `new` ones
    Celery does not have.  `usage` stands in for the words made of the arguments.
    """

    name: str
    kind: Literal["inspect", "control"]
    help: str
    arguments: tuple[Argument, ...] = ()
    alias: str | None = None
    destructive: bool = False
    hidden: bool = False
    example: str = ""
    new: bool = False
    usage: str | None = None

    @property
    def positional(self) -> list[Argument]:
        """The arguments that are given by position."""
        return [argument for argument in self.arguments if not argument.option]

    def words(self) -> str:
        """Return the arguments, as usage lines show them."""
        if self.usage is not None:
            return self.usage
        words = []
        for arg in self.positional:
            word = arg.name.upper() + ("..." if arg.variadic else "")
            words.append(word if arg.required else f"[{word}]")
        return " ".join(words)

    def signature(self) -> str:
        """Return the name with its arguments."""
        return f"{self.name} {self.words()}".rstrip()


_TASK = Argument("task_name", str, "name of the task", required=True)
_N = Argument("n", int, "how many children", default=1)
_IDS = Argument("task_id", str, "task ids", required=True, variadic=True)
_SIGNAL = Argument("signal", str, "signal for --terminate", default="SIGTERM", option=True)
_KILL = Argument("terminate", bool, "also kill what runs", default=False, option=True)

_TABLE = (
    # --- inspect -----------------------------------------------------------------------------
    Command(
        "active",
        INSPECT,
        "Show the tasks that run now",
        alias="dump_active",
        example="taskctl inspect active --where 'running_seconds > 10m'",
    ),
    Command(
        "active_queues",
        INSPECT,
        "Show the queues nodes take tasks from",
        example="taskctl inspect active_queues -o name",
    ),
    Command(
        "clock", INSPECT, "Show the logical clock of nodes", example="taskctl inspect clock -j"
    ),
    Command(
        "conf",
        INSPECT,
        "Show the settings of nodes, secrets masked",
        (Argument("with_defaults", bool, "also settings left at their default", default=False),),
        alias="dump_conf",
        example="taskctl inspect conf true -d w1 --where 'setting == worker_*'",
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
    Command(
        "memdump",
        INSPECT,
        "Show the memory samples taken so far, and the memory now",
        (Argument("samples", int, "most samples to show", default=10),),
        example="taskctl inspect memdump 20 -d w1",
    ),
    Command(
        "memsample",
        INSPECT,
        "Take a sample of the memory nodes use",
        example="taskctl inspect memsample",
    ),
    Command(
        "objgraph",
        INSPECT,
        "Draw what keeps objects alive, into a file on the node",
        (
            Argument("type", str, "name of the type", default="Request"),
            Argument("num", int, "most objects to draw", default=200),
            Argument("max_depth", int, "most steps back from an object", default=10),
        ),
        example="taskctl inspect objgraph Request 50 -d w1",
    ),
    Command("ping", INSPECT, "Ask nodes whether they live", example="taskctl inspect ping -d w1"),
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
    Command(
        "report",
        INSPECT,
        "Show versions, platform and settings of nodes",
        example="taskctl inspect report -d w1",
    ),
    Command(
        "reserved",
        INSPECT,
        "Show tasks that were received and wait",
        alias="dump_reserved",
        example="taskctl inspect reserved --sort task",
    ),
    Command(
        "revoked",
        INSPECT,
        "Show the ids of revoked tasks",
        alias="dump_revoked",
        example="taskctl inspect revoked -o name",
    ),
    Command(
        "scheduled",
        INSPECT,
        "Show tasks that wait for their ETA",
        alias="dump_schedule",
        example="taskctl inspect scheduled --sort eta",
    ),
    Command(
        "stacks",
        INSPECT,
        "Show where in the code a node and its children are",
        example="taskctl inspect stacks -d w1",
        new=True,
    ),
    Command(
        "stats",
        INSPECT,
        "Show counters, pool, broker and memory of nodes",
        example="taskctl inspect stats -d w1 -w",
    ),
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
    Command(
        "disable_events",
        CONTROL,
        "Stop sending task events",
        example="taskctl control disable_events",
    ),
    Command(
        "election",
        CONTROL,
        "Let one node of all run a task",
        (
            Argument("id", str, "a new id for this election", required=True),
            Argument("topic", str, "what is elected for: task", required=True),
            Argument("action", str, "task name, or a signature in JSON"),
        ),
        example="taskctl control election nightly-1 task proj.cleanup",
    ),
    Command("enable_events", CONTROL, "Send task events", example="taskctl control enable_events"),
    Command(
        "heartbeat",
        CONTROL,
        "Send a heartbeat event now",
        example="taskctl control heartbeat -d w1",
    ),
    Command(
        "pool_grow",
        CONTROL,
        "Add children to the pool",
        (_N,),
        example="taskctl control pool_grow 2 -d w1",
    ),
    Command(
        "pool_restart",
        CONTROL,
        "Replace the children, as each ends its task (see worker_pool_restarts)",
        (
            Argument("reload", bool, "import the modules anew", default=False),
            Argument("modules", str, "modules to import first", variadic=True),
        ),
        example="taskctl control pool_restart -d w1",
    ),
    Command(
        "pool_shrink",
        CONTROL,
        "Remove children from the pool",
        (_N,),
        example="taskctl control pool_shrink 2 -d w1",
    ),
    Command(
        "quiet",
        CONTROL,
        "Take no new tasks, finish what runs, stay and answer",
        example="taskctl control quiet -d w1",
        new=True,
    ),
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
        (_IDS, _KILL, _SIGNAL),
        example="taskctl control revoke 8f0c1a2b-0d6f-4f52-9c3e-0a8e1c6a7c11",
    ),
    Command(
        "revoke_by_stamped_headers",
        CONTROL,
        "Make nodes skip tasks that bear a stamp",
        (
            Argument("headers", str, "stamps as KEY=VALUE", required=True, variadic=True),
            _KILL,
            _SIGNAL,
        ),
        example="taskctl control revoke_by_stamped_headers customer=4711",
    ),
    Command(
        "shutdown",
        CONTROL,
        "Shut nodes down warmly",
        destructive=True,
        example="taskctl control shutdown -d w1",
    ),
    Command(
        "terminate",
        CONTROL,
        "Kill running tasks, by id",
        (
            Argument("signal", str, "signal to send", required=True),
            _IDS,
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
    Command(
        "unquiet",
        CONTROL,
        "Take new tasks again",
        example="taskctl control unquiet -d w1",
        new=True,
    ),
)

COMMANDS: dict[str, Command] = {command.name: command for command in _TABLE}
ALIASES: dict[str, str] = {c.alias: c.name for c in _TABLE if c.alias}


def find(method: str) -> Command | None:
    """Return the command a method name or alias stands for."""
    return COMMANDS.get(ALIASES.get(method, method))
