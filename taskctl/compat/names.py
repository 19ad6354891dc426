"""Which of our objects stands under which name of Celery's, as tables.

Each module has lines `home: NAME NAME=ATTRIBUTE NAME=.`: the names live in the module `home`,
under an attribute of another name after `=`; `=.` is the module itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import names_kombu, names_utils

#: The release whose names, and ways, these are.
CELERY_VERSION = "5.7.0"
KOMBU_VERSION = "5.7.0"


class version_info_t(NamedTuple):
    """A version in parts, as `celery.VERSION` has it."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: str


def _version(text: str) -> version_info_t:
    major, minor, micro = re.split(r"\.", text)
    return version_info_t(int(major), int(minor), int(micro), "", "")


MODULES: dict[str, str] = {
    "celery": """
        taskctl.core: Celery Signature chain chord chunks current_app current_task group
        taskctl.core: maybe_signature shared_task signature xmap xstarmap
        taskctl.core: subtask=signature maybe_subtask=maybe_signature
        taskctl.core.tasks.task: Task
        taskctl.compat.workings: bugreport maybe_patch_concurrency
        taskctl.core.app: app_or_default
        taskctl.core.proxies: Proxy
        taskctl.core.tasks.stamping: StampingVisitor
        taskctl.compat.names: version_info_t
    """,
    "celery.__main__": "taskctl.compat.workings: main",
    "celery._state": """
        taskctl.core: app_or_default current_app current_task
        taskctl.core.current: set_default_app get_current_task=current_task
        taskctl.core.current: pop_current_task=pop_task
        taskctl.compat.workings: connect_on_app_finalize default_app get_current_worker_task
        taskctl.compat.workings: task_join_will_block
        taskctl.core.current: push_current_task=push_task
    """,
    "celery.app": """
        taskctl.core: Celery app_or_default shared_task
        taskctl.compat.workings: bugreport default_app
        taskctl.compat.members: AMQP
        taskctl.core.current: pop_current_task=pop_task push_current_task=push_task
    """,
    "celery.app.amqp": "taskctl.compat.members: AMQP Queues",
    "celery.app.annotations": """
        taskctl.core.tasks.annotations: prepare=prepare_annotations
    """,
    "celery.app.autoretry": """
        taskctl.core.tasks.autoretry: add_autoretry_behaviour=add_autoretry
    """,
    "celery.app.base": "taskctl.core: App Celery",
    "celery.app.control": """
        taskctl.core.remote.control: Control Inspect
        taskctl.compat.workings: flatten_reply
    """,
    "celery.app.defaults": """
        taskctl.compat.workings: DEFAULTS SETTING_KEYS
        taskctl.core.settings_table: find=find_option
        taskctl.core.settings_table: DEFAULT_PROCESS_LOG_FMT=PROCESS_FORMAT
        taskctl.core.settings_table: DEFAULT_TASK_LOG_FMT=TASK_FORMAT
    """,
    "celery.app.events": "taskctl.core.remote.app_events: Events",
    "celery.app.log": "taskctl.compat.members: Logging\ntaskctl.compat.logs: TaskFormatter",
    "celery.app.registry": "taskctl.core.tasks.registry: TaskRegistry",
    "celery.app.routes": """
        taskctl.core.messaging.routes: Router
        taskctl.core.messaging.routes: prepare=prepare_routes
    """,
    "celery.app.task": """
        taskctl.core.tasks.task: Task BaseTask=Task
        taskctl.core.tasks.context: Context
    """,
    "celery.app.utils": """
        taskctl.core.config: Settings
        taskctl.compat.workings: bugreport filter_hidden_settings find_app
        taskctl.core.redact: sanitize_url=mask_url
    """,
    "celery.apps.beat": "taskctl.compat.programs: Beat",
    "celery.apps.worker": "taskctl.compat.programs: Worker=WorkController",
    "celery.backends.base": """
        taskctl.core.backends.base: Backend BaseBackend=Backend
        taskctl.core.backends.disabled: DisabledBackend
        taskctl.core.current: get_current_task=current_task
    """,
    "celery.backends.cache": "taskctl.core.backends.memcached: CacheBackend=MemcachedBackend",
    "celery.backends.database": "taskctl.core.backends.database: DatabaseBackend",
    "celery.backends.filesystem": "taskctl.core.backends.filesystem: FilesystemBackend",
    "celery.backends.mongodb": "taskctl.core.backends.mongodb: MongoBackend",
    "celery.backends.redis": """
        taskctl.core.backends.redis: RedisBackend SentinelBackend=RedisBackend
    """,
    "celery.backends.rpc": "taskctl.core.backends.rpc: RPCBackend=RpcBackend",
    "celery.beat": """
        taskctl.core.beat: BeatLazyFunc PersistentScheduler ScheduleEntry Scheduler Service
        taskctl.core.beat.scheduler: DEFAULT_MAX_INTERVAL event_t
        taskctl.core.errors: SchedulingError
        taskctl.core.beat.service: EmbeddedService=EmbeddedBeat
        taskctl.core.beat.voice: NODENAME_DEFAULT=DEFAULT_NAME
    """,
    "celery.bin.celery": "taskctl.compat.workings: main",
    "celery.bin.base": "click: CeleryCommand=Command CeleryOption=Option",
    "celery.bootsteps": """
        taskctl.core.bootsteps: StartStopStep Step
        taskctl.compat.workings: RUN CLOSE TERMINATE
    """,
    "celery.canvas": """
        taskctl.core: Signature chain chord chunks group maybe_signature signature xmap xstarmap
        taskctl.core: subtask=signature maybe_subtask=maybe_signature
        taskctl.core: _chain=chain _chord=chord
        taskctl.compat.workings: task_name_from
        taskctl.core.tasks.stamping: StampingVisitor
    """,
    "celery.concurrency": "taskctl.compat.workings: get_available_pool_names",
    "celery.contrib.abortable": """
        taskctl.compat.abortable: ABORTED AbortableAsyncResult AbortableTask
    """,
    "celery.contrib.django.task": "taskctl.core.django: DjangoTask",
    "celery.contrib.rdb": """
        taskctl.core.worker.debugger: set_trace debugger=set_trace
    """,
    "celery.contrib.testing.app": """
        taskctl.compat.testing: DEFAULT_TEST_CONFIG TestApp Trap UnitLogging set_trap
        taskctl.compat.testing: setup_default_app
    """,
    "celery.contrib.testing.tasks": "taskctl.compat.ping: ping",
    "celery.contrib.testing.worker": """
        taskctl.compat.testing: TestWorkController WORKER_LOGLEVEL setup_app_for_worker start_worker
        taskctl.compat.testing: test_worker_started test_worker_starting test_worker_stopped
    """,
    "celery.events": """
        taskctl.core.messaging.event_receiver: Event EventReceiver
        taskctl.core.messaging.events: EventDispatcher
        taskctl.compat.workings: group_from
    """,
    "celery.events.dispatcher": "taskctl.core.messaging.events: EventDispatcher",
    "celery.events.event": """
        taskctl.core.messaging.event_receiver: Event
        taskctl.compat.workings: group_from
    """,
    "celery.events.receiver": "taskctl.core.messaging.event_receiver: EventReceiver",
    "celery.events.snapshot": "taskctl.core.remote.snapshot: Polaroid",
    "celery.events.state": """
        taskctl.core.remote.event_records: Task Worker
        taskctl.core.remote.event_state: State
    """,
    "celery.exceptions": """
        taskctl.core.errors: AlreadyRegistered BackendError CeleryError ChordError
        taskctl.core.errors: DuplicateNodenameWarning FixupWarning Ignore ImproperlyConfigured
        taskctl.core.errors: IncompleteStream InvalidTaskError MaxRetriesExceededError
        taskctl.core.errors: NotRegistered OperationalError QueueNotFound Reject Retry
        taskctl.core.errors: RetryTaskError SecurityError SoftTimeLimitExceeded TaskPredicate
        taskctl.core.errors: TaskRevokedError Terminated TimeLimitExceeded TimeoutError
        taskctl.core.errors: WorkerLostError TaskError=TaskctlError
        taskctl.core.errors: BackendGetMetaError=BackendError BackendStoreError=BackendError
        taskctl.core.app: AlwaysEagerIgnored
        taskctl.core.tasks.registry: DuplicateTaskNameWarning
        taskctl.compat.errors: CDeprecationWarning CPendingDeprecationWarning
        taskctl.compat.errors: CeleryCommandException CeleryWarning NotConfigured SecurityWarning
        taskctl.compat.errors: SystemTerminate WorkerShutdown WorkerTerminate reraise
        taskctl.compat.errors: UNREGISTERED_FMT
    """,
    "celery.fixups.django": "taskctl.core.django: DjangoFixup DjangoWorkerFixup fixup",
    "celery.loaders": "taskctl.compat.workings: get_loader_cls",
    "celery.loaders.app": "taskctl.core.loaders: AppLoader",
    "celery.loaders.base": """
        taskctl.core.loaders: BaseLoader
        taskctl.core.discovery: autodiscover_tasks=discover
    """,
    "celery.loaders.default": """
        taskctl.core.loaders: Loader=AppLoader
    """,
    "celery.result": """
        taskctl.core: AsyncResult EagerResult GroupResult ResultSet allow_join_result
        taskctl.core.tasks.asyncresult: ResultBase result_from_tuple
        taskctl.core.tasks.joining: assert_will_not_block=assert_may_wait denied_join_result
    """,
    "celery.schedules": """
        taskctl.core.schedules: BaseSchedule crontab maybe_schedule schedstate schedule solar
        taskctl.core.cronfields: ParseException crontab_parser
    """,
    "celery.security": "taskctl.compat.security: disable_untrusted_serializers setup_security",
    "celery.signals": """
        taskctl.core.signals: after_setup_logger after_setup_task_logger after_task_publish
        taskctl.core.signals: beat_embedded_init beat_init before_task_publish
        taskctl.core.signals: celeryd_after_setup celeryd_init heartbeat_sent import_modules
        taskctl.core.signals: setup_logging task_failure task_internal_error task_postrun
        taskctl.core.signals: task_prerun task_received task_rejected task_retry task_revoked
        taskctl.core.signals: task_sent task_success task_unknown user_preload_options
        taskctl.core.signals: worker_before_create_process worker_init worker_process_init
        taskctl.core.signals: worker_process_shutdown worker_ready worker_shutdown
        taskctl.core.signals: worker_shutting_down
        taskctl.compat.green: eventlet_pool_apply eventlet_pool_postshutdown
        taskctl.compat.green: eventlet_pool_preshutdown eventlet_pool_started
    """,
    "celery.states": """
        taskctl.core.wire.states: ALL_STATES EXCEPTION_STATES FAILURE IGNORED PENDING PRECEDENCE
        taskctl.core.wire.states: PROPAGATE_STATES READY_STATES RECEIVED REJECTED RETRY REVOKED
        taskctl.core.wire.states: STARTED SUCCESS UNREADY_STATES precedence
        taskctl.compat.states: NONE_PRECEDENCE PRECEDENCE_LOOKUP state
    """,
    "celery.worker": "taskctl.compat.programs: WorkController",
    "celery.worker.worker": "taskctl.compat.programs: WorkController",
    "celery.worker.control": """
        taskctl.core.remote.panel: Panel control_command inspect_command
        taskctl.compat.workings: nok ok
    """,
    "celery.worker.request": "taskctl.core.worker.request: Request",
    **names_utils.MODULES,
    **names_kombu.MODULES,
}

#: Modules that are one of ours as a whole; pytest looks into them.
WHOLE: dict[str, str] = {
    "celery.contrib.pytest": "taskctl.compat.pytest_fixtures",
}
MODULES.update(dict.fromkeys(WHOLE, ""))

#: Names that mean another object each time they are asked for.
CHANGING: dict[str, frozenset[str]] = {
    "celery._state": frozenset(("default_app",)),
    "celery.app": frozenset(("default_app",)),
}

#: Names that are plain values.
VALUES: dict[str, Mapping[str, Any]] = {
    "celery": {
        "__version__": CELERY_VERSION,
        "VERSION": _version(CELERY_VERSION),
        "VERSION_BANNER": f"{CELERY_VERSION} (taskctl)",
        "SERIES": "taskctl",
        "version_info": _version(CELERY_VERSION),
        "__author__": "taskctl",
        "__homepage__": "",
        "__contact__": "",
    },
    "kombu": {"__version__": KOMBU_VERSION, "VERSION": _version(KOMBU_VERSION)},
    "billiard": {"__version__": "4.3.2"},
}
