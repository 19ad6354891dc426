"""The pages that no command has: the project file, exit codes, JSON, and what happens inside."""

from __future__ import annotations

from .page import Block, Code, Heading, Page, Terms
from .tables import EXITS

_SEE_ALSO: list[Block] = ["taskctl(1), taskctl-worker(1), taskctl-multi(1)"]


def project_file() -> Page:
    """Return taskctl.toml(5)."""
    sections: dict[str, list[Block]] = {
        "SYNOPSIS": [Code(["taskctl.toml", "pyproject.toml, table [tool.taskctl]"])],
        "DESCRIPTION": [
            "What a project says to every taskctl command that is typed in its folder or below. "
            "The nearest file counts, looking upwards as far as the checkout goes; taskctl.toml "
            "goes before pyproject.toml. In pyproject.toml the keys stand under [tool.taskctl], "
            "in taskctl.toml at the top.",
            "The file comes last: the command line, TASKCTL_ and CELERY_ variables and the app "
            "itself win over it, in this order. An unknown key or a wrong type is an error that "
            "names file and line (exit 78).",
            Heading("Keys"),
            Terms([
                ("app", "The app, as -A takes it."),
                ("broker_url", "URL of the broker. Commands that know it need not import the app."),
                ("result_backend", "Where results are kept."),
                ("output, color, workdir", "As the global options of these names."),
                ("any setting", "Every setting of the app under its name; taskctl config show -a "
                                "lists them."),
            ]),
        ],
        "EXAMPLES": [Code(['# taskctl.toml', 'app = "shop"',
                           'broker_url = "redis://10.0.0.5:6379/0"', "task_time_limit = 300"])],
        "SEE ALSO": ["taskctl(1), taskctl-config(1)"],
    }  # fmt: skip
    return Page("taskctl.toml", 5, "settings of a project for taskctl", sections)


def exit_codes() -> Page:
    """Return taskctl-exit-codes(7)."""
    sections: dict[str, list[Block]] = {
        "DESCRIPTION": [
            "Every command of taskctl ends with one of these. They change only with a major "
            "version. Numbers from 64 on are those of sysexits.h, 124 is that of timeout(1).",
        ],
        "EXIT STATUS": [
            Terms([(str(code), text) for code, text in EXITS.items()]),
            "A command whose reader has closed the pipe ends with 141 (128 + SIGPIPE), quietly.",
        ],
        "EXAMPLES": [
            "A unit that systemd should not start again when starting again cannot help:",
            Code(["RestartPreventExitStatus=2 73 77 78"]),
            "A script that goes on once four nodes answer:",
            Code(["taskctl -A proj status --expect 4 -q || exit 1"]),
        ],
        "SEE ALSO": _SEE_ALSO,
    }
    return Page("taskctl-exit-codes", 7, "what the exit codes of taskctl say", sections)


#: Keys of an item or of a node's value, by command; tests hold the schemas to them.
JSON_KEYS: tuple[tuple[str, str], ...] = (
    ("status", "state pid host pool slots busy queues done failed oldest_seconds uptime_seconds "
               "last_seen version"),
    ("multi start, stop, restart, status", "node state pid old_pid pidfile logfile exit_code "
                                           "seconds running_tasks error"),
    ("queue ls", "queue depth unacked consumers oldest_seconds rate paused"),
    ("queue peek", "id task args_repr enqueued_at redelivered"),
    ("dlq ls, show", "id task queue reason failed_at attempts node exception traceback"),
    ("config show, diff", "key value origin{kind path line} default censored"),
    ("doctor", "check state message cure seconds"),
    ("probe", "node live ready reasons beat_age_seconds"),
)  # fmt: skip


def json_page() -> Page:
    """Return taskctl-json(7)."""
    sections: dict[str, list[Block]] = {
        "DESCRIPTION": [
            "With -o json stdout is one document, or empty together with an exit code that is not "
            "0. With -o jsonl it is one object a line, written as answers arrive. Numbers are "
            "numbers (seconds float, bytes int), what is absent is null, times are RFC 3339 in "
            "UTC.",
            Heading("The document"),
            Code([
                '{"schema": "taskctl/inspect.active/1", "at": "2026-11-22T14:02:07.311Z",',
                ' "ok": true, "nodes": {"w1@web3": {"ok": []}}, "missing": []}',
            ]),
            "A node that refused has error, with code and message, in place of ok. Lists have "
            "items in place of nodes. missing names nodes that were expected and silent.",
            Heading("Keys"),
            Terms([(name, f"{keys}.") for name, keys in JSON_KEYS]),
            Heading("Celery's shape"),
            "-j prints what Celery prints where Celery has the command: {node: reply} for status "
            "and inspect, [{node: reply}] for control; elsewhere it is -o json. Keys may be added "
            "to a reply, none is removed.",
            Heading("Errors"),
            "With TASKCTL_ERRORS=json an error is one line on stderr:",
            Code([
                '{"error": {"code": "no_reply", "message": "no worker answered in 1.0 s",',
                '           "hint": null, "exit": 69}}',
            ]),
        ],
        "FILES": ["docs/schema/ of the source holds a JSON Schema for every document."],
        "EXAMPLES": [Code([
            "taskctl -A proj inspect active -j | jq 'map_values(length)'",
            "taskctl -A proj queue ls -o jsonl | jq -r 'select(.depth > 100).queue'",
        ])],
        "SEE ALSO": _SEE_ALSO,
    }  # fmt: skip
    return Page("taskctl-json", 7, "JSON output of taskctl", sections)


def internals() -> Page:
    """Return taskctl-internals(7)."""
    sections: dict[str, list[Block]] = {
        "DESCRIPTION": [
            Heading("A node"),
            "A worker is one process, the parent, with one thread around one select, and children "
            "that run tasks. All children read from one socket, so work goes to whoever is idle. "
            "The parent stores the result of a task, and then acknowledges its message and "
            "publishes what follows in one step.",
            Heading("Leases"),
            "Each node renews a lease in the broker every worker_lease_interval seconds (5). When "
            "a lease has not been renewed for worker_lease seconds (15), any other node gives the "
            "messages it held back to the head of their queues. While a lease holds, nothing that "
            "the node holds is delivered again, however long it runs.",
            Heading("Delivery limit"),
            "A message whose worker or child was lost task_max_deliveries times (3) while it ran "
            "goes to the dead-letter queue celery.dead, with its reason; see taskctl-dlq(1).",
            Heading("Due times"),
            "A message with an ETA waits in the broker and is handed out when it is due.",
            Heading("Remote control"),
            "inspect, control and status speak Celery's pidbox protocol. The registry of live "
            "nodes tells the client whom to expect, so that it need not wait for the timeout.",
            Heading("Pidfiles"),
            "A pidfile holds the pid and stays locked while its node lives. A pid whose lock is "
            "free, or whose start time differs from the recorded one, is never signalled.",
            Heading("Health files"),
            "The main loop of a node writes its health file every few seconds; taskctl-probe(1) "
            "reads it, and needs neither broker nor app.",
        ],
        "SEE ALSO": [*_SEE_ALSO, "docs/architecture.md and docs/decisions/ of the source."],
    }
    return Page("taskctl-internals", 7, "how taskctl works inside", sections)


PAGES = {
    "taskctl.toml.5": project_file,
    "taskctl-exit-codes.7": exit_codes,
    "taskctl-json.7": json_page,
    "taskctl-internals.7": internals,
}
