"""What Celery's users import of kombu and billiard."""

from __future__ import annotations

MODULES: dict[str, str] = {
    "kombu": """
        taskctl.compat.queues: Exchange Queue binding
        taskctl.compat.tools: parse_url uuid
        taskctl.core.wire.codecs: unregister
        taskctl.compat.codecs: disable_insecure_serializers enable_insecure_serializers
    """,
    "kombu.common": "taskctl.compat.queues: Broadcast\ntaskctl.compat.tools: uuid",
    "kombu.entity": "taskctl.compat.queues: Exchange Queue binding",
    "kombu.exceptions": """
        taskctl.core.errors: ContentDisallowed DecodeError EncodeError KombuError=TaskctlError
        taskctl.core.errors: OperationalError SerializationError=DecodeError
        taskctl.core.errors: SerializerNotInstalled=ImproperlyConfigured
        taskctl.core.errors: LimitExceeded=BrokerError ConnectionLimitExceeded=BrokerError
    """,
    "kombu.serialization": """
        taskctl.core.wire.codecs: register unregister
        taskctl.compat.codecs: disable_insecure_serializers dumps enable_insecure_serializers loads
        taskctl.compat.codecs: prepare_accept_content
        taskctl.core.wire.foreign: pickle_loads=pickle_decode
    """,
    "kombu.utils": """
        taskctl.compat.tools: cached_property symbol_by_name uuid
    """,
    "kombu.utils.encoding": """
        taskctl.compat.codecs: bytes_to_str ensure_bytes safe_repr safe_str str_to_bytes
    """,
    "kombu.utils.functional": """
        taskctl.compat.functional: LRUCache dictfilter is_list lazy maybe_evaluate maybe_list
    """,
    "kombu.utils.imports": "taskctl.compat.tools: symbol_by_name",
    "kombu.utils.json": """
        taskctl.compat.codecs: dumps=json_dumps loads=json_loads
        taskctl.core.wire.codecs: register_type
    """,
    "kombu.utils.objects": "taskctl.compat.tools: cached_property",
    "kombu.utils.url": """
        taskctl.core.redact: maybe_sanitize_url=mask_url
        taskctl.compat.tools: parse_url
    """,
    "kombu.utils.uuid": "taskctl.compat.tools: uuid",
    "billiard": """
        multiprocessing: Array Condition Event JoinableQueue Lock Manager Pipe Pool Process Queue
        multiprocessing: RLock Semaphore SimpleQueue Value active_children cpu_count get_context
        multiprocessing: get_logger AuthenticationError BufferTooShort ProcessError
        multiprocessing: freeze_support get_start_method set_start_method
        taskctl.core.errors: SoftTimeLimitExceeded TimeLimitExceeded WorkerLostError
        taskctl.compat.logs: current_process
    """,
    "billiard.exceptions": """
        taskctl.core.errors: SoftTimeLimitExceeded Terminated TimeLimitExceeded WorkerLostError
        multiprocessing: AuthenticationError BufferTooShort ProcessError TimeoutError
    """,
    "billiard.einfo": "taskctl.core.tasks.tracebacks: ExceptionInfo",
    "billiard.process": """
        taskctl.compat.logs: current_process
        multiprocessing: Process active_children
    """,
    "billiard.context": "multiprocessing: Process TimeoutError",
    "billiard.pool": "multiprocessing.pool: Pool ThreadPool",
    "billiard.util": "multiprocessing: get_logger",
}
