"""Every option of `taskctl worker`, and the global ones, as data.

One table for three readers: `worker` makes its click options of it, `multi` learns from it which
options take a value and which names mean the same, `--help` and the man page print it.
It imports nothing that is not in every Python, so that `multi` stays quick.
"""

from __future__ import annotations

from dataclasses import dataclass

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")
POOLS = ("prefork", "asyncio", "threads", "solo", "processes")


@dataclass(frozen=True)
class Option:
    """One option.

    `names`: all its spellings, the first long one is its name. `kind` is "flag" (takes no value),
    "text", "int", "float", "path", "list" (comma separated), "choice" (one of `choices`, letter
    case does not matter), "concurrency" (a whole number or auto), "autoscale" (MAX,MIN or N),
    "address" (host:port, :port or unix:/path).
    `default` is for people to read; None stands for the setting, or nothing.
    `template`: its value may hold %letters.
    """

    names: tuple[str, ...]
    kind: str
    group: str
    help: str
    metavar: str = ""
    default: str | None = None
    choices: tuple[str, ...] = ()
    template: bool = False

    @property
    def name(self) -> str:
        """Its first long spelling; it is known by this."""
        return next(name for name in self.names if name.startswith("--"))

    @property
    def takes_value(self) -> bool:
        return self.kind != "flag"


WORKER, POOL, QUEUE, FEATURES, BEAT, HEALTH, DAEMON = (
    "Worker options",
    "Pool options",
    "Queue options",
    "Features",
    "Embedded beat options",
    "Health options",
    "Daemon options",
)

WORKER_OPTIONS: tuple[Option, ...] = (
    Option(
        ("-n", "--hostname"),
        "text",
        WORKER,
        "name of the node: w1@%h; %h host, %n its first label, %d domain",
        "NAME",
        "celery@%h",
    ),
    Option(("-D", "--detach"), "flag", WORKER, "run in the background; return once ready"),
    Option(
        ("-S", "--statedb"),
        "path",
        WORKER,
        "remember revoked tasks in this file, over a restart",
        "FILE",
        template=True,
    ),
    Option(
        ("-l", "--loglevel"),
        "choice",
        WORKER,
        "log this level and above: DEBUG, INFO, WARNING, ERROR",
        "LEVEL",
        "WARNING",
        LOG_LEVELS,
    ),
    Option(
        ("-O", "--optimization"),
        "choice",
        WORKER,
        "no effect, for Celery's sake: work goes to an idle child",
        "PROFILE",
        None,
        ("default", "fair"),
    ),
    Option(
        ("--prefetch-multiplier",),
        "int",
        WORKER,
        "messages to hold per child; 0 means no limit",
        "N",
        "auto",
    ),
    Option(("--disable-prefetch",), "flag", WORKER, "fetch only what a child can start at once"),
    Option(
        ("--log-format",),
        "choice",
        WORKER,
        "lines for people, or one JSON object a line",
        "FORMAT",
        "text",
        ("text", "json"),
    ),
    Option(
        ("--shutdown-timeout",),
        "float",
        WORKER,
        "longest time a warm shutdown waits for running tasks",
        "SECONDS",
        "no limit",
    ),
    Option(("--check",), "flag", WORKER, "load everything, connect, and exit"),
    Option(
        ("-c", "--concurrency"),
        "concurrency",
        POOL,
        "tasks at once: children, threads, or coroutines in each child; auto heeds CPU quota",
        "N",
        "number of CPUs; asyncio: 100",
    ),
    Option(
        ("-P", "--pool"),
        "choice",
        POOL,
        "prefork, asyncio, threads or solo",
        "POOL",
        "prefork",
        POOLS,
    ),
    Option(
        ("--children",),
        "int",
        POOL,
        "child processes of the asyncio pool; -c is coroutines in each",
        "N",
        "1",
    ),
    Option(("-E", "--task-events", "--events"), "flag", POOL, "send events for monitors"),
    Option(("--time-limit",), "float", POOL, "kill a task that runs longer", "SECONDS"),
    Option(
        ("--soft-time-limit",),
        "float",
        POOL,
        "raise SoftTimeLimitExceeded in a task that runs longer",
        "SECONDS",
    ),
    Option(
        ("--max-tasks-per-child",), "int", POOL, "replace a child after so many tasks", "N", "never"
    ),
    Option(
        ("--pool-start-method",),
        "choice",
        POOL,
        "how children come to be: fork is the only way there is",
        "METHOD",
        "fork",
        ("fork", "spawn"),
    ),
    Option(
        ("--max-memory-per-child",),
        "int",
        POOL,
        "replace a child that grew beyond this, after its task",
        "KIB",
        "never",
    ),
    Option(
        ("--purge", "--discard"), "flag", QUEUE, "first delete all messages waiting in the queues"
    ),
    Option(("-Q", "--queues"), "list", QUEUE, "consume these queues only", "LIST"),
    Option(("-X", "--exclude-queues"), "list", QUEUE, "consume all queues but these", "LIST"),
    Option(("-I", "--include"), "list", QUEUE, "import these modules too", "LIST"),
    Option(
        ("--without-gossip",),
        "flag",
        FEATURES,
        "do not hear Celery's workers: no part in their elections",
    ),
    Option(
        ("--without-mingle",),
        "flag",
        FEATURES,
        "do not ask other workers for revoked tasks at the start",
    ),
    Option(("--without-heartbeat",), "flag", FEATURES, "send no heartbeat events"),
    Option(
        ("--heartbeat-interval",), "int", FEATURES, "seconds between heartbeat events", "SECONDS"
    ),
    Option(
        ("--autoscale",), "autoscale", FEATURES, "let the pool grow and shrink: 10,3", "MAX,MIN"
    ),
    Option(("-B", "--beat"), "flag", BEAT, "send periodic tasks too, from a child process"),
    Option(
        ("-s", "--schedule-filename", "--schedule"),
        "path",
        BEAT,
        "where beat notes what it has sent; for -B",
        "FILE",
        "beat_schedule_filename",
        template=True,
    ),
    Option(("--scheduler",), "text", BEAT, "class of beat's scheduler; for -B", "CLASS"),
    Option(
        ("--health-file",),
        "path",
        HEALTH,
        "say here every few seconds how the node is, for probe; none: nowhere",
        "FILE",
        "RUN/NODE.health",
        template=True,
    ),
    Option(
        ("--health-listen",),
        "address",
        HEALTH,
        "answer /livez and /readyz over HTTP: host:port, :port, unix:/path",
        "ADDR",
    ),
    Option(
        ("--metrics-listen",),
        "address",
        HEALTH,
        "answer /metrics for Prometheus; may be the same address",
        "ADDR",
    ),
    Option(
        ("-f", "--logfile"), "path", DAEMON, "log to this file", "FILE", "stderr", template=True
    ),
    Option(
        ("--pidfile",), "path", DAEMON, "hold this pidfile while running", "FILE", template=True
    ),
    Option(("--uid",), "text", DAEMON, "become this user", "USER"),
    Option(("--gid",), "text", DAEMON, "become this group", "GROUP"),
    Option(("--umask",), "text", DAEMON, "umask for new files; octal if it begins with 0", "MASK"),
    Option(("--executable",), "path", DAEMON, "go on in this Python", "FILE"),
)

GLOBAL = "Global options"

#: Global options that `multi` hands on in front of `worker`.
GLOBAL_OPTIONS: tuple[Option, ...] = (
    Option(("-A", "--app"), "text", GLOBAL, "the app: module, or module:attribute", "APP"),
    Option(("-b", "--broker"), "text", GLOBAL, "broker URL", "URL", "embedded SQLite"),
    Option(("--result-backend",), "text", GLOBAL, "result backend URL", "URL"),
    Option(("--loader",), "text", GLOBAL, "class that loads settings and modules", "CLASS"),
    Option(("--config",), "text", GLOBAL, "module with settings", "MODULE"),
    Option(("--workdir",), "path", GLOBAL, "change to this folder first", "DIR"),
    Option(("--skip-checks",), "flag", GLOBAL, "sets CELERY_SKIP_CHECKS, which Django apps read"),
    Option(("--celery-compat",), "flag", GLOBAL, "import celery finds taskctl; Celery's defaults"),
    Option(("-C", "--no-color"), "flag", GLOBAL, "no colour"),
    Option(
        ("--color",),
        "choice",
        GLOBAL,
        "when to colour",
        "WHEN",
        "auto",
        ("auto", "always", "never"),
    ),
)
