"""What several pages say alike: exit codes, variables, files."""

from __future__ import annotations

from taskctl.failures import (
    CANT_CREATE,
    CONFIG,
    DEFECT,
    FAILED,
    INTERRUPTED,
    NOT_ALLOWED,
    OK,
    PARTIAL,
    TIMED_OUT,
    TRY_LATER,
    UNAVAILABLE,
    USAGE,
)

#: Each exit code and what it says; the one list for every page.
EXITS: dict[int, str] = {
    OK: "Done; all nodes that were asked agreed.",
    FAILED: (
        "Failed: a node refused, a task failed, a node did not start or stop, a check failed, or "
        "the answer to a question was no."
    ),
    USAGE: (
        "Wrong usage; the app was not found or cannot be imported; a question needed an answer "
        "and there was no terminal."
    ),
    PARTIAL: (
        "Partial: some named or expected nodes did not answer, or are down; with --strict, a "
        "registered node is silent."
    ),
    UNAVAILABLE: "No node answered, or the broker cannot be reached.",
    DEFECT: "A defect of taskctl; the traceback is in a file that is named.",
    CANT_CREATE: "The pidfile is held by a live node, or a file cannot be made.",
    TRY_LATER: "Try later: a lock is held, or another restart is running.",
    NOT_ALLOWED: "Not allowed.",
    CONFIG: "Settings are invalid.",
    TIMED_OUT: "The time given to a wait ran out.",
    INTERRUPTED: "Ended by Ctrl-C; 128+N in general: ended by signal N.",
}

#: Codes that any command may end with.
_COMMON = (OK, FAILED, USAGE, DEFECT, INTERRUPTED)
_REMOTE = (*_COMMON, PARTIAL, UNAVAILABLE, CONFIG)
_BROKER = (*_COMMON, UNAVAILABLE, CONFIG)
#: Codes of each command; those not named here use the broker and nothing else.
COMMAND_EXITS: dict[str, tuple[int, ...]] = {
    "worker": (*_BROKER, CANT_CREATE, NOT_ALLOWED),
    "beat": (*_BROKER, CANT_CREATE, NOT_ALLOWED),
    "multi": (*_COMMON, PARTIAL, UNAVAILABLE, CANT_CREATE, TRY_LATER, CONFIG, TIMED_OUT),
    "status": _REMOTE,
    "inspect": _REMOTE,
    "control": _REMOTE,
    "call": (*_BROKER, TIMED_OUT),
    "result": (*_BROKER, TIMED_OUT),
    "wait": (*_BROKER, TIMED_OUT),
    "config": (*_REMOTE,),
    "events": (*_BROKER, CANT_CREATE),
    "init": (*_COMMON, CANT_CREATE),
    "upgrade": (*_COMMON, CANT_CREATE),
    "completion": (*_COMMON, CANT_CREATE),
    "probe": _COMMON,
    "logtool": _COMMON,
    "man": _COMMON,
    "help": (OK, USAGE),
    "version": (OK, USAGE),
}


def exits_of(command: str) -> list[tuple[str, str]]:
    """Return the exit codes of a command and what each says, in order."""
    return [(str(code), EXITS[code]) for code in sorted(COMMAND_EXITS.get(command, _BROKER))]


#: Variables that stand for global options, and those that change how the program talks.
ENVIRONMENT: tuple[tuple[str, str], ...] = (
    ("TASKCTL_APP, CELERY_APP", "The app, as -A takes it."),
    ("TASKCTL_BROKER_URL, CELERY_BROKER_URL", "URL of the broker, as -b takes it."),
    ("TASKCTL_RESULT_BACKEND, CELERY_RESULT_BACKEND", "Where results are kept."),
    ("TASKCTL_LOADER, CELERY_LOADER", "The loader, as --loader takes it."),
    ("TASKCTL_CONFIG_MODULE, CELERY_CONFIG_MODULE", "Module with settings."),
    ("TASKCTL_WORKDIR", "Working directory, as --workdir takes it."),
    ("TASKCTL_SKIP_CHECKS", "If true, Django's checks are left out."),
    ("TASKCTL_CELERY_COMPAT", "If true, as --celery-compat; reaches every process started here."),
    ("NO_COLOR, TASKCTL_COLOR, FORCE_COLOR", "No colour; auto, always or never; always."),
    ("TASKCTL_QUIET, TASKCTL_VERBOSE", "As -q and -v."),
    ("TASKCTL_OUTPUT", "Format of the output, as -o takes it."),
    ("TASKCTL_CONFIRM", "Whether to ask before something is destroyed: auto, always or never."),
    ("TASKCTL_ERRORS", "If json, an error is one line of JSON on stderr."),
    ("TASKCTL_STRICT", "If 0, a refusal or a missing node exits 0, as Celery does."),
    (
        "TASKCTL_COMMAND_OPTION",
        "Stands for any option of a command: TASKCTL_INSPECT_TIMEOUT=5. The same with CELERY_ is "
        "read when the first is not set.",
    ),
    (
        "TASKCTL_RUN_DIR, TASKCTL_LOG_DIR, TASKCTL_STATE_DIR",
        "Folders for pidfiles, for logs, and for what is remembered. Else systemd's "
        "RUNTIME_DIRECTORY, LOGS_DIRECTORY and STATE_DIRECTORY; else the folders under FILES.",
    ),
)

FILES: tuple[tuple[str, str], ...] = (
    (".taskctl/queue.db", "The embedded broker, beside the app, if no broker is named."),
    ("taskctl.toml, pyproject.toml", "Settings of a project; see taskctl.toml(5)."),
    ("/run/taskctl, $XDG_RUNTIME_DIR/taskctl", "Pidfiles and health files; root, others."),
    ("/var/log/taskctl, $XDG_STATE_HOME/taskctl/log", "Logs of nodes; root, others."),
    ("/var/lib/taskctl, $XDG_STATE_HOME/taskctl", "Records of multi; root, others."),
    ("$XDG_CACHE_HOME/taskctl", "Names for completion, at most 30 s old."),
)
