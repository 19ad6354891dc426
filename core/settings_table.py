"""Every setting, as data: name, type, default, one line of help, old names.

The command line, the man page, `config explain` and the checks all read this one table.
Names and meanings are Celery 5.7's; where a default differs on purpose, `celery` holds Celery's.

Types (several may be joined by `|`; a default of None allows None):
    bool int float str bytes list dict any
    seconds     a number or a timedelta
    names       a name, or a list of names
    callable    a function, or the dotted path of one
    class       a class, or the dotted path of one
    rate        10, "10/s", "10/m", "10/h"
    timezone    a zone name or a tzinfo
    level       the name or number of a log level
    queues      a list of queues or a dict of their options
    none        None
    "word"      this word
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple


class Setting(NamedTuple):
    """One setting. `note` says what taskctl does not do with it; empty if it is honoured."""

    name: str
    type: str
    default: Any
    help: str
    old: tuple[str, ...] = ()
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    note: str = ""
    #: Celery's own default, where ours differs; else SAME.
    celery: Any = ...
    #: True for what Celery does not know.
    own: bool = False

    @property
    def supported(self) -> bool:
        return not self.note

    def celery_default(self) -> Any:
        """Return the default that Celery 5.7 has for it."""
        return self.default if self.celery is SAME else self.celery


#: Marks a default that is the same in Celery.
SAME = ...

PROCESS_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"

#: How Celery spelt a setting before 4.0, by the prefix it has now.
OLD_SPELLING = {
    "beat": "CELERYBEAT_{}",
    "cache": "CELERY_CACHE_{}",
    "couchbase": "CELERY_COUCHBASE_{}",
    "arangodb": "CELERY_ARANGODB_{}",
    "mongodb": "CELERY_MONGODB_{}",
    "event": "CELERY_EVENT_{}",
    "redis": "CELERY_REDIS_{}",
    "result": "CELERY_RESULT_{}",
    "elasticsearch": "CELERY_ELASTICSEARCH_{}",
    "security": "CELERY_SECURITY_{}",
    "task": "CELERY_{}",
    "worker": "CELERYD_{}",
}

#: What a setting's name may begin with; an unknown name that does is a mistake.
PREFIXES = (
    "accept_", "arangodb_", "azureblockblob_", "beat_", "broker_", "cache_backend", "cassandra_",
    "control_queue_", "cosmosdbsql_", "couchbase_", "database_", "dynamodb_", "elasticsearch_",
    "event_queue_", "gcs_", "mongodb_backend", "redis_backend", "redis_socket_", "result_",
    "s3_", "security_", "task_", "worker_",
)  # fmt: skip

BY_ITSELF = "the RabbitMQ broker does so by itself"
STRAIGHT = "rpc results go straight to the reply queue, as in Celery"
NO_BACKEND = "there is no result backend of this kind"
NO_PART = "the worker is built otherwise: it has no such part to replace"


def _named(*rows: Setting) -> Iterator[Setting]:
    """Yield the rows, the old name of each filled in where it follows the pattern."""
    for row in rows:
        prefix, _, rest = row.name.partition("_")
        if not row.old and not row.own:
            spelling = OLD_SPELLING.get(prefix)
            old = spelling.format(rest.upper()) if spelling and rest else row.name.upper()
            row = row._replace(old=(old,))
        yield row


def _group(note: str, *rows: Setting) -> Iterator[Setting]:
    """Yield the rows, all marked with one note."""
    return (row._replace(note=note) for row in rows)


_ = Setting

GENERAL = (
    _("accept_content", "names", ("json",),
      "Content types and serializers that are accepted from the broker; the rest is refused.",
      ("CELERY_ACCEPT_CONTENT",)),
    _("result_accept_content", "names", None,
      "The same for results; unset, what accept_content says.", ("RESULT_ACCEPT_CONTENT",)),
    _("enable_utc", "bool", True, "Write times in messages in UTC, not in local time.",
      ("ENABLE_UTC", "CELERY_ENABLE_UTC")),
    _("imports", "names", (), "Modules that every worker imports at start.",
      ("CELERY_IMPORTS",)),
    _("include", "names", (), "More modules to import, after those of imports.",
      ("CELERY_INCLUDE",)),
    _("timezone", "timezone", None,
      "Zone of schedules and of times without an offset; unset, UTC.", ("CELERY_TIMEZONE",)),
    _("override_backends", "dict", None, "Own result backends: name to class path."),
)  # fmt: skip

TASK = (
    _("task_acks_late", "bool", True,
      "Acknowledge a message after its task ran, not before.", celery=False),
    _("task_acks_on_failure_or_timeout", "bool", True,
      "Acknowledge late tasks also when they fail or run out of time; better set the two below."),
    _("task_acks_on_failure", "bool", None,
      "Acknowledge late tasks that failed; unset, task_acks_on_failure_or_timeout."),
    _("task_acks_on_timeout", "bool", None,
      "Acknowledge late tasks that ran out of time; unset, task_acks_on_failure_or_timeout."),
    _("task_always_eager", "bool", False, "Run every call at once, in the caller; for tests."),
    _("task_annotations", "any", None,
      "Change attributes of tasks by name: {'proj.add': {'rate_limit': '10/m'}}, '*' for all."),
    _("task_compression", "str", None,
      "Compress messages: gzip, bzip2, lzma, zstd, brotli.", ("CELERY_MESSAGE_COMPRESSION",)),
    _("task_create_missing_queues", "bool", True,
      "Declare a queue that task_queues does not list when it is first named."),
    _("task_create_missing_queue_type", "str", "classic",
      "Kind of the queues so declared.", choices=("classic", "quorum")),
    _("task_create_missing_queue_exchange_type", "str", None,
      "Exchange type of the queues so declared; unset, direct."),
    _("task_dead_letter_queue", "str", "celery.dead",
      "Queue that takes messages which were delivered too often.", own=True),
    _("task_limits_url", "str", None,
      "Where limits that all workers share are counted: redis:// or sqlite://; unset, at the broker"
      ", or at the result backend.", own=True),
    _("task_revoke_expires", "seconds", 604800.0,
      "Seconds for which the broker remembers that a task was revoked.", minimum=1, own=True),
    _("task_inherit_parent_priority", "bool", False,
      "Give calls made inside a task the priority of that task."),
    _("task_default_delivery_mode", 'int|"persistent"|"transient"', 2,
      "Keep messages over a restart of the broker: 2 (persistent) or 1 (transient).",
      choices=(1, 2, "1", "2", "persistent", "transient")),
    _("task_default_queue", "str", "celery", "Queue of calls that name none and match no route."),
    _("task_default_queue_type", "str", "classic", "Kind of the default queue.",
      choices=("classic", "quorum")),
    _("task_default_exchange", "str", None, "Exchange of the default queue; unset, its name."),
    _("task_default_exchange_type", "str", "direct", "Type of exchanges that name none.",
      choices=("direct", "topic", "fanout", "headers")),
    _("task_default_routing_key", "str", None,
      "Routing key of the default queue; unset, its name."),
    _("task_default_rate_limit", "rate", None,
      "Most runs per second, minute or hour of tasks that set none: 10, '10/s', '10/m', '10/h'."),
    _("task_default_priority", "int", None, "Priority of calls that name none.", minimum=0),
    _("task_eager_propagates", "bool", False, "Let eager calls raise what their task raised.",
      ("CELERY_EAGER_PROPAGATES_EXCEPTIONS",)),
    _("task_ignore_result", "bool", False, "Store no results, unless a task says otherwise."),
    _("task_max_deliveries", "int|none", 3,
      "Deliveries that may end in a lost worker or child before the message becomes a dead letter;"
      " None: any.", minimum=1, own=True),
    _("task_max_decompressed_size", "int|none", 128 << 20,
      "Bytes that a compressed message may become; a larger one is a dead letter. None: any.",
      minimum=1, own=True),
    _("task_store_eager_result", "bool", False, "Store results of eager calls too."),
    _("task_protocol", "int", 2, "Version of the task message; 2 is the one that is written.",
      ("CELERY_TASK_PROTOCOL",), choices=(2,)),
    _("task_publish_retry", "bool", True, "Try again when a message cannot be published.",
      ("CELERY_TASK_PUBLISH_RETRY",)),
    _("task_publish_retry_policy", "dict",
      {"max_retries": 3, "interval_start": 0, "interval_max": 1, "interval_step": 0.2},
      "How often, and after how many seconds, publishing is tried again.",
      ("CELERY_TASK_PUBLISH_RETRY_POLICY",)),
    _("task_queues", "queues", None,
      "Queues to consume from: a list of Queue, or a dict of name to options.",
      ("CELERY_QUEUES",)),
    _("task_priority_order", "str", "highest",
      "Which number comes first: the highest on every broker, or 'celery': on Redis the lowest.",
      choices=("highest", "celery"), celery="celery", own=True),
    _("task_queue_max_priority", "int", None, "Highest priority of queues that set none.",
      minimum=0),
    _("task_reject_on_worker_lost", "bool|none", True,
      "Give a late-acknowledged message back when its child dies under it.", celery=None),
    _("task_retry_on_worker_lost", "bool", False,
      "Retry a task whose child died, counted against its max_retries."),
    _("task_remote_tracebacks", "bool", False,
      "Send tracebacks along, to be raised at the caller.",
      note="tracebacks come as text only"),
    _("task_repr_maxlevels", "int", 3, "How deep arguments are shown in argsrepr and kwargsrepr.",
      minimum=0),
    _("task_routes", "any", None,
      "Which task goes to which queue: {'proj.video.*': {'queue': 'video'}}, a list, a function."),
    _("task_send_sent_event", "bool", False, "Let clients send an event for each call.",
      ("CELERY_SEND_TASK_SENT_EVENT",)),
    _("task_serializer", "str", "json", "Serializer of task messages.",
      ("CELERY_TASK_SERIALIZER",)),
    _("task_soft_time_limit", "seconds", None,
      "Seconds after which SoftTimeLimitExceeded is raised inside a task.",
      ("CELERYD_TASK_SOFT_TIME_LIMIT",), minimum=0),
    _("task_time_limit", "seconds", None,
      "Seconds after which the child that runs a task is killed.",
      ("CELERYD_TASK_TIME_LIMIT",), minimum=0),
    _("task_store_errors_even_if_ignored", "bool", False,
      "Store failures also of tasks whose results are ignored."),
    _("task_track_started", "bool", False, "Store the state STARTED when a task begins."),
    _("task_allow_error_cb_on_chord_header", "bool", False,
      "Call error callbacks of a chord for each failed header task too."),
    _("task_workflow_references", 'bool|"auto"', "auto",
      "Let messages refer to what follows in a large workflow; auto: where none can be Celery's.",
      own=True),
)  # fmt: skip

WORKER = (
    _("worker_agent", "class", None, "Agent to run in the worker.", note=NO_PART),
    _("worker_autoscaler", "class", "celery.worker.autoscale:Autoscaler",
      "Class that resizes the pool.", note=NO_PART),
    _("worker_cancel_long_running_tasks_on_connection_loss", "bool", False,
      "Kill late-acknowledged tasks when the broker is lost.",
      note="a lease that lasts keeps a running task from being delivered twice"),
    _("worker_soft_shutdown_timeout", "seconds", 0.0,
      "Seconds a cold shutdown leaves running tasks to finish.", minimum=0),
    _("worker_enable_soft_shutdown_on_idle", "bool", False,
      "Wait these seconds also when nothing runs.",
      note="tasks that wait for their time are handed back at once"),
    _("worker_concurrency", 'int|"auto"', None,
      "Children or threads of the pool; unset or auto, as many as there are processors.",
      minimum=0),
    _("worker_asyncio_children", "int", 1,
      "Child processes of the asyncio pool; worker_concurrency is coroutines in each (100).",
      minimum=1, own=True),
    _("worker_consumer", "class", "celery.worker.consumer:Consumer", "Class of the consumer.",
      note=NO_PART),
    _("worker_direct", "bool", False, "Give each worker a queue of its own, named after it.",
      ("CELERY_WORKER_DIRECT",)),
    _("worker_disable_rate_limits", "bool", False, "Let tasks run as fast as they come.",
      ("CELERY_DISABLE_RATE_LIMITS",)),
    _("worker_deduplicate_successful_tasks", "bool", False,
      "Do not run a redelivered task whose result says SUCCESS."),
    _("worker_enable_remote_control", "bool", True, "Answer inspect and control.",
      ("CELERY_ENABLE_REMOTE_CONTROL",)),
    _("worker_hijack_root_logger", "bool", True,
      "Replace the handlers of the root logger when the worker starts."),
    _("worker_lease", "seconds", 15.0,
      "Seconds without a sign of life after which a worker's messages go to others.",
      minimum=1, own=True),
    _("worker_lease_interval", "seconds", 5.0,
      "Seconds between signs of life; at most half of worker_lease.", minimum=0.1, own=True),
    _("worker_log_color", "bool", None, "Colour the log; unset, on a terminal only."),
    _("worker_log_datefmt", "str", None, "How %(asctime)s is written, as strftime has it."),
    _("worker_log_format", "str", PROCESS_FORMAT, "Format of a line of the log."),
    _("worker_lost_wait", "seconds", 10.0, "Seconds before a silent child is given up.",
      ("CELERYD_WORKER_LOST_WAIT",), note="the death of a child is noticed at once"),
    _("worker_max_memory_per_child", "int", None,
      "KiB of resident memory beyond which a child is replaced after its task.", minimum=1),
    _("worker_max_tasks_per_child", "int", None, "Tasks after which a child is replaced.",
      minimum=1),
    _("worker_pool", "class", "prefork", "Kind of pool: prefork, asyncio, threads, solo."),
    _("worker_pool_putlocks", "bool", True, "Guard the pool's entrance by a semaphore.",
      note="the pool only takes what it has room for"),
    _("worker_pool_restarts", "bool", False, "Allow the remote command pool_restart."),
    _("worker_pool_start_method", "str", "fork", "How children come to be.",
      choices=("fork", "spawn"), note="children are always forked"),
    _("worker_proc_alive_timeout", "seconds", 4.0,
      "Seconds in which a new child must say it is up.", minimum=0),
    _("worker_prefetch_multiplier", 'int|"auto"', "auto",
      "Messages fetched ahead per child; 0 is without limit, auto judges by run times.",
      minimum=0, celery=4),
    _("worker_eta_task_limit", "int", None, "Most tasks held in memory that wait for their time.",
      minimum=1),
    _("worker_enable_prefetch_count_reduction", "bool", True,
      "Fetch less after a reconnection, while old tasks still run.", note=NO_PART),
    _("worker_disable_prefetch", "bool", False, "Fetch a message only when a child is idle."),
    _("worker_redirect_stdouts", "bool", True, "Write what tasks print into the log.",
      ("CELERY_REDIRECT_STDOUTS",)),
    _("worker_redirect_stdouts_level", "level", "WARNING", "Level at which it is written.",
      ("CELERY_REDIRECT_STDOUTS_LEVEL",)),
    _("worker_send_task_events", "bool", False, "Send task events, as -E does.",
      ("CELERY_SEND_EVENTS",)),
    _("worker_shutdown_timeout", "seconds", None,
      "Most seconds a warm shutdown waits for running tasks; unset, without limit.",
      minimum=0, own=True),
    _("worker_state_db", "str", None, "File that remembers revoked tasks, as --statedb."),
    _("worker_task_log_datefmt", "str", None, "The same for lines of task loggers."),
    _("worker_task_log_format", "str", TASK_FORMAT, "Format of a line of a task logger."),
    _("worker_timer", "class", None, "Class of the timer.", note=NO_PART),
    _("worker_timer_precision", "float", 1.0, "Longest sleep of the timer.", note=NO_PART),
    _("worker_detect_quorum_queues", "bool", True, "Look whether queues are quorum queues.",
      note=BY_ITSELF),
    *(_(f"worker_{name}", kind, None, text) for name, kind, text in (
        ("logfile", "str", "Log file, as --logfile."),
        ("pidfile", "str", "File that holds the process id, as --pidfile."),
        ("uid", "int|str", "User to become, as --uid."),
        ("gid", "int|str", "Group to become, as --gid."),
        ("umask", "int|str", "File mode mask, as --umask; text that begins with 0 is octal."),
        ("executable", "str", "Python to start with, as --executable."))),
)  # fmt: skip

BROKER = (
    _("broker_url", "str|names", None,
      "Where messages are carried; several are tried in turn; unset, an embedded SQLite file."),
    _("broker_read_url", "str|names", None, "The same for consuming; unset, broker_url."),
    _("broker_write_url", "str|names", None, "The same for publishing; unset, broker_url."),
    _("broker_transport", "str", None, "Scheme for a broker_url without one."),
    _("broker_transport_options", "dict", {}, "Options of the broker, by its kind."),
    _("broker_connection_timeout", "seconds|none", 4, "Seconds to wait for a connection.",
      minimum=0),
    _("broker_connection_retry", "bool", True, "Connect again when the broker is lost."),
    _("broker_connection_retry_on_startup", "bool", None,
      "Try again at start too; unset, broker_connection_retry."),
    _("broker_connection_max_retries", "int|none", 100,
      "How often a connection is tried; 0 or None is forever.", minimum=0),
    _("broker_channel_error_retry", "bool", False, "Open a channel again after an error.",
      note=BY_ITSELF),
    _("broker_failover_strategy", "callable", None,
      "Order in which several broker URLs are tried: round-robin, shuffle, a function."),
    _("broker_heartbeat", "seconds|none", 120, "Seconds between AMQP heartbeats.", minimum=0),
    _("broker_heartbeat_checkrate", "float", 3.0, "Checks per heartbeat interval.", minimum=0,
      note=BY_ITSELF),
    _("broker_login_method", "str", None, "How to log in: PLAIN, AMQPLAIN, EXTERNAL."),
    _("broker_native_delayed_delivery_queue_type", "str", "quorum",
      "Kind of the queues that delay.", choices=("quorum", "classic")),
    _("broker_pool_limit", "int|none", 10, "Most connections kept open by a client.", minimum=0),
    _("broker_pool_acquire_timeout", "seconds", None,
      "Seconds to wait for one of them; unset, forever.", minimum=0,
      note="a thread that publishes has a connection of its own and waits for none"),
    _("broker_publish_timeout", "seconds", 5.0,
      "Seconds after which a call that cannot be published raises PublishTimeout.",
      minimum=0, own=True),
    _("broker_use_ssl", "bool|dict|none", False, "Speak TLS: true, or options of ssl."),
    _("broker_host", "str", None, "Host, when broker_url is not set; better use broker_url."),
    _("broker_port", "int", None, "Port, with broker_host.", minimum=1),
    _("broker_user", "str", None, "User, with broker_host."),
    _("broker_password", "str", None, "Password, with broker_host."),
    _("broker_vhost", "str|int", None, "Virtual host or database, with broker_host."),
)  # fmt: skip

RESULT = (
    _("result_backend", "class", None,
      "Where results are kept; unset, in the broker's file if that is SQLite, else nowhere."),
    _("result_cache_max", "int|none", -1,
      "Results a client remembers; -1 is none, 0 or None without limit.",
      ("CELERY_MAX_CACHED_RESULTS",), minimum=-1),
    _("result_compression", "str", None,
      "Compress stored results: gzip, bzip2, lzma, zstd, brotli."),
    _("result_exchange", "str", "celeryresults", "Exchange of the rpc backend.",
      note=STRAIGHT),
    _("result_exchange_type", "str", "direct", "Its type.", note=STRAIGHT),
    _("result_expires", "seconds|none", timedelta(days=1),
      "How long results are kept; 0 or None is forever.", ("CELERY_TASK_RESULT_EXPIRES",),
      minimum=0),
    _("result_chord_expires", "seconds", None,
      "How long the count of a chord is kept; unset, result_expires.", minimum=0),
    _("result_workflow_expires", "seconds|none", timedelta(days=30),
      "How long a workflow may take whose messages refer to its steps; 0 or None is forever.",
      minimum=0, own=True),
    _("result_failure_expires", "seconds", None,
      "How long failures are kept; unset, result_expires.", minimum=0),
    _("result_persistent", "bool", None, "Keep rpc results over a restart of the broker."),
    _("result_extended", "bool", False,
      "Store name, arguments, worker, retries and queue with each result."),
    _("result_serializer", "str", "json", "Serializer of results."),
    _("result_backend_transport_options", "dict", {}, "Options of the backend, by its kind."),
    _("result_chord_retry_interval", "seconds", 1.0,
      "Seconds between looks at a chord that cannot count its parts.", minimum=0),
    _("result_chord_join_timeout", "seconds", 3.0,
      "Seconds to fetch the results of a header for its body.", minimum=0),
    _("result_backend_always_retry", "bool", False,
      "Try again when the backend fails for a while; a worker never gives up a result."),
    _("result_backend_max_retries", "float", float("inf"),
      "How often a client tries again.", minimum=0),
    _("result_backend_base_sleep_between_retries_ms", "int", 10, "First pause, in ms.",
      minimum=0),
    _("result_backend_max_sleep_between_retries_ms", "int", 10000, "Longest pause, in ms.",
      minimum=0),
    _("result_backend_thread_safe", "bool", None, "Share one backend among threads."),
)  # fmt: skip

BEAT = (
    _("beat_enable_remote_control", "bool", False, "Let beat answer inspect ping."),
    _("beat_remote_control_max_tick_age", "seconds", None,
      "Seconds without a look at the schedule after which beat is silent.", minimum=0,
      note="beat answers from the loop that sends, and is silent if that stands still"),
    _("beat_max_loop_interval", "seconds", 0,
      "Longest time between looks at the schedule; 0 leaves it to the scheduler: 300 s.",
      minimum=0),
    _("beat_election", "bool", True,
      "Let one of several beats at a broker send, and the others stand by.", own=True),
    _("beat_group", "str", None,
      "Name under which beats elect; unset, the name of the app.", own=True),
    _("beat_lease", "seconds", 15.0,
      "Seconds after which a beat that fell silent leads no longer.", minimum=1, own=True),
    _("beat_catchup", "str", "last",
      "Which of the runs that were missed are sent late; an entry may say otherwise.",
      choices=("none", "last", "all"), own=True),
    _("beat_catchup_limit", "int", 100,
      "Most runs of an entry that are sent late with 'all'; the newest.", minimum=1, own=True),
    _("beat_schedule", "dict", {},
      "What is sent when: {name: {'task': ..., 'schedule': ..., 'args': ...}}."),
    _("beat_scheduler", "class", "celery.beat:PersistentScheduler",
      "Class of the scheduler; a path under Celery's name stands for ours."),
    _("beat_schedule_filename", "str", "celerybeat-schedule",
      "File that remembers when each entry was last sent; .sqlite is added to its name."),
    _("beat_sync_every", "int", 0, "Write that file after so many sends; 0 is after each.",
      minimum=0),
    _("beat_cron_starting_deadline", "seconds", None,
      "Skip runs of a crontab that were missed by more than these seconds.", minimum=0),
    *(_(f"{program}_{name}", kind, None, text)
      for program in ("beat", "events") for name, kind, text in (
        ("logfile", "str", "Log file, as --logfile."),
        ("pidfile", "str", "File that holds the process id, as --pidfile."),
        ("uid", "int|str", "User to become, as --uid."),
        ("gid", "int|str", "Group to become, as --gid."),
        ("umask", "int|str", "File mode mask, as --umask; text that begins with 0 is octal."),
        ("executable", "str", "Python to start with, as --executable."))),
    _("beat_dburi", "str", None, "Database of a scheduler that is not Celery's own.",
      note="read by that scheduler alone"),
)  # fmt: skip

CONTROL_AND_EVENT = (
    _("control_queue_ttl", "seconds|none", 300.0,
      "Seconds a remote command or a reply waits to be read.", minimum=0),
    _("control_queue_expires", "seconds|none", 10.0,
      "Seconds after which an unused reply queue is deleted.", minimum=0),
    _("control_queue_exclusive", "bool", True,
      "Bind remote control queues to one connection (RabbitMQ)."),
    _("control_queue_durable", "bool", False,
      "Keep remote control queues over a restart (RabbitMQ)."),
    _("control_exchange", "str", "celery", "Name that remote control exchanges begin with."),
    _("event_queue_expires", "seconds|none", 60.0,
      "Seconds after which the queue of a gone monitor is deleted.", minimum=0),
    _("event_queue_ttl", "seconds|none", 5.0, "Seconds an event waits to be read.", minimum=0),
    _("event_queue_prefix", "str", "celeryev", "Name that queues of monitors begin with."),
    _("event_queue_exclusive", "bool", True, "Bind these queues to one connection (RabbitMQ)."),
    _("event_queue_durable", "bool", False, "Keep these queues over a restart (RabbitMQ)."),
    _("event_serializer", "str", "json", "Serializer of events."),
    _("event_exchange", "str", "celeryev", "Exchange of events."),
)  # fmt: skip

REDIS = (
    _("redis_backend_use_ssl", "bool|dict", None, "Speak TLS with the result backend: options."),
    _("redis_backend_health_check_interval", "seconds", None,
      "Seconds between checks of an idle connection.", minimum=0),
    _("redis_backend_credential_provider", "class", None,
      "Class that hands out user and password."),
    _("redis_client_name", "str", None, "Name of our connections in CLIENT LIST."),
    _("redis_db", "int", None, "Database, when result_backend is plain 'redis'.", minimum=0),
    _("redis_host", "str", None, "Host, when result_backend is plain 'redis'."),
    _("redis_max_connections", "int", None,
      "Most connections of the result backend; a wait without one looks now and then.",
      minimum=1),
    _("redis_username", "str", None, "User, when the URL has none."),
    _("redis_password", "str", None, "Password, when the URL has none."),
    _("redis_port", "int", None, "Port, when result_backend is plain 'redis'.", minimum=1),
    _("redis_socket_timeout", "seconds|none", 10.0,
      "Seconds to wait for an answer; 0 or None is for ever.", minimum=0, celery=120.0),
    _("redis_socket_connect_timeout", "seconds", None, "Seconds to wait for a connection.",
      minimum=0),
    _("redis_retry_on_timeout", "bool", False, "Ask again when an answer did not come in time."),
    _("redis_socket_keepalive", "bool", False, "Let TCP look whether the server is there."),
)  # fmt: skip

SECURITY = (
    _("security_certificate", "str", None, "PEM file of our own certificate."),
    _("security_cert_store", "str", None,
      "Folder, or pattern, of the PEM files of the certificates that are trusted."),
    _("security_key", "str", None, "PEM file of our RSA private key."),
    _("security_key_password", "bytes|str", None, "Its password."),
    _("security_digest", "str", "sha256", "Digest of signatures; equal on all sides."),
)  # fmt: skip

DATABASE = (
    _("database_url", "str", None, "Database, when result_backend is plain 'database'.",
      ("CELERY_RESULT_DBURI",)),
    _("database_engine_options", "dict", {"pool_pre_ping": True, "pool_recycle": 3600},
      "Arguments of SQLAlchemy's create_engine.", ("CELERY_RESULT_ENGINE_OPTIONS",)),
    _("database_engine_callback", "callable", None, "Called with each new engine."),
    _("database_short_lived_sessions", "bool", False, "Keep no connection open between uses.",
      ("CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",)),
    _("database_table_schemas", "dict", None, "Schema of the tables 'task' and 'group'."),
    _("database_table_names", "dict", None, "Name of the tables 'task' and 'group'.",
      ("CELERY_RESULT_DB_TABLENAMES",)),
    _("database_create_tables_at_setup", "bool", True,
      "Create the tables at start, not at first use."),
    _("cache_backend", "str", None,
      "Servers, when result_backend is plain 'cache'; name of a cache, when it is 'django-cache'."),
    _("cache_backend_options", "dict", {}, "Options of the memcached client."),
    _("mongodb_backend_settings", "dict", None,
      "Host, port, user, password, database, collections and options of MongoDB."),
)  # fmt: skip

#: Settings of result backends that taskctl does not have.  They stay known, so that
#: a configuration made for Celery is read, and one that relies on them is warned about.
FOREIGN = tuple(_group(NO_BACKEND,
    _("cassandra_entry_ttl", "seconds", None, "Seconds an entry is kept.", minimum=0),
    _("cassandra_keyspace", "str", None, "Keyspace."),
    _("cassandra_port", "int|str", None, "Port."),
    _("cassandra_read_consistency", "str", None, "Consistency level of reads."),
    _("cassandra_servers", "names", None, "Hosts."),
    _("cassandra_bundle_path", "str", None, "Secure connect bundle."),
    _("cassandra_secure_bundle_path", "str", None, "Secure connect bundle, as documented."),
    _("cassandra_table", "str", None, "Table."),
    _("cassandra_write_consistency", "str", None, "Consistency level of writes."),
    _("cassandra_auth_provider", "str", None, "Class that authenticates."),
    _("cassandra_auth_kwargs", "dict|str", None, "Its arguments."),
    _("cassandra_options", "dict", {}, "Options of the driver."),
    _("s3_access_key_id", "str", None, "Access key."),
    _("s3_secret_access_key", "str", None, "Its secret."),
    _("s3_bucket", "str", None, "Bucket."),
    _("s3_base_path", "str", None, "Prefix of keys."),
    _("s3_endpoint_url", "str", None, "Endpoint other than Amazon's."),
    _("s3_region", "str", None, "Region."),
    _("azureblockblob_container_name", "str", "celery", "Container."),
    _("azureblockblob_retry_initial_backoff_sec", "int", 2, "First pause in seconds."),
    _("azureblockblob_retry_increment_base", "int", 2, "Factor of the pauses that follow."),
    _("azureblockblob_retry_max_attempts", "int", 3, "Attempts."),
    _("azureblockblob_base_path", "str", "", "Prefix of keys."),
    _("azureblockblob_connection_timeout", "seconds", 20, "Seconds to connect."),
    _("azureblockblob_read_timeout", "seconds", 120, "Seconds to read."),
    _("gcs_bucket", "str", None, "Bucket."),
    _("gcs_project", "str", None, "Project."),
    _("gcs_base_path", "str", "", "Prefix of keys."),
    _("gcs_ttl", "seconds", 0, "Seconds a result is kept; 0 is forever."),
    _("gcs_threadpool_maxsize", "int", None, "Threads that talk to the bucket."),
    _("couchbase_backend_settings", "dict", None, "How to connect."),
    _("arangodb_backend_settings", "dict", None, "How to connect."),
    _("cosmosdbsql_database_name", "str", "celerydb", "Database."),
    _("cosmosdbsql_collection_name", "str", "celerycol", "Collection."),
    _("cosmosdbsql_consistency_level", "str", "Session", "Consistency level."),
    _("cosmosdbsql_max_retry_attempts", "int", 9, "Attempts."),
    _("cosmosdbsql_max_retry_wait_time", "seconds", 30, "Seconds between them."),
    _("dynamodb_endpoint_url", "str", None, "Endpoint other than Amazon's."),
    _("elasticsearch_retry_on_timeout", "bool", None, "Ask again after a time-out."),
    _("elasticsearch_max_retries", "int", None, "How often."),
    _("elasticsearch_timeout", "seconds", None, "Seconds to wait for an answer."),
    _("elasticsearch_save_meta_as_text", "bool", True, "Store results as JSON text."),
))  # fmt: skip

del _

#: Every setting by name, in the order of the documentation.
#: What is known, read without complaint, and not carried out by this version.
NOT_YET = {
    "worker_proc_alive_timeout": "a child that does not come up is replaced with growing pauses",
    "worker_eta_task_limit": "tasks that wait for their time wait in the broker",
    **dict.fromkeys(
        (f"events_{name}" for name in ("logfile", "pidfile", "uid", "gid", "umask", "executable")),
        "not there yet: give the option on the command line",
    ),
    "broker_pool_limit": "the threads of a process share one connection",
    "result_backend_thread_safe": "one backend always serves all threads",
}

SETTINGS: dict[str, Setting] = {
    row.name: row._replace(note=NOT_YET[row.name]) if row.name in NOT_YET else row
    for row in _named(
        *GENERAL, *TASK, *WORKER, *BROKER, *RESULT, *BEAT, *CONTROL_AND_EVENT, *REDIS,
        *SECURITY, *DATABASE, *FOREIGN,
    )
}  # fmt: skip

#: Old name to new name.
NEW_NAMES: dict[str, str] = {old: row.name for row in SETTINGS.values() for old in row.old}


def find_option(name: str, namespace: str = "") -> tuple[str, str, Setting] | None:
    """Return (prefix, rest, setting) of a name without its prefix; `namespace` is tried first."""
    name, namespace = name.lower(), namespace.lower()
    if (key := f"{namespace}_{name}") in SETTINGS:
        return namespace, name, SETTINGS[key]
    if name in SETTINGS:
        return "", name, SETTINGS[name]
    for key, row in SETTINGS.items():
        prefix, _, rest = key.partition("_")
        if rest == name:
            return prefix, rest, row
    return None
