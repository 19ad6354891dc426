"""The names of `celery.utils` and other small tools."""

from __future__ import annotations

MODULES: dict[str, str] = {
    "celery.local": """
        taskctl.core.proxies: Proxy
        taskctl.core.tasks.registry: maybe_evaluate=evaluate
        taskctl.compat.tools: try_import
    """,
    "celery.platforms": """
        taskctl.compat.platforms: EX_CANTCREAT EX_FAILURE EX_OK EX_UNAVAILABLE EX_USAGE IS_WINDOWS
        taskctl.compat.platforms: IS_macOS SYSTEM Signals get_errno_name get_signal ignore_signal
        taskctl.compat.platforms: install_signal_handler isatty reset_signal signal_name signals
        taskctl.compat.platforms: strargv
        platform: pyimplementation=python_implementation
        taskctl.core.privileges: parse_gid=group_id parse_uid=user_id
        taskctl.core.privileges: check_privileges=refuse_pickle_as_root
        taskctl.core.process: set_pdeathsig=die_with_parent
        taskctl.core.errors: LockFailed=PidfileHeld
        taskctl.core.pidfile: Pidfile PIDFile=Pidfile
    """,
    "celery.utils": """
        taskctl.compat.nodes: nodename nodesplit worker_direct
        taskctl.compat.functional: chunks noop uniq
        taskctl.compat.tools: cached_property gen_task_name import_from_cwd instantiate
        taskctl.compat.tools: symbol_by_name uuid
        taskctl.compat.tools: get_full_cls_name=qualname gen_unique_id=uuid
        taskctl.core.wire.saferepr: saferepr
    """,
    "celery.utils.abstract": """
        taskctl.core.tasks.task: CallableTask=Task
        taskctl.core.tasks.signature: CallableSignature=Signature
    """,
    "celery.utils.collections": """
        collections: OrderedDict
        taskctl.compat.functional: AttributeDict force_mapping lpmerge
    """,
    "celery.utils.debug": "taskctl.compat.functional: humanbytes hfloat",
    "celery.utils.dispatch": "taskctl.core.signals: Signal",
    "celery.utils.dispatch.signal": "taskctl.core.signals: Signal",
    "celery.utils.functional": """
        contextlib: DummyContext=nullcontext
        taskctl.compat.functional: LRUCache chunks dictfilter first fun_accepts_kwargs
        taskctl.compat.functional: fun_takes_argument is_list is_numeric_value lazy lookahead
        taskctl.compat.functional: mattrgetter maybe maybe_evaluate maybe_list noop padlist pass1
        taskctl.compat.functional: seq_concat_item seq_concat_seq uniq
    """,
    "celery.utils.imports": """
        taskctl.compat.tools: cwd_in_path find_module gen_task_name import_from_cwd instantiate
        taskctl.compat.tools: load_extension_class_names load_extension_classes module_file
        taskctl.compat.tools: qualname symbol_by_name
    """,
    "celery.utils.iso8601": "taskctl.core.clock: parse_iso8601",
    "celery.utils.log": """
        taskctl.compat.logs: ColorFormatter current_process current_process_index get_logger
        taskctl.compat.logs: get_multiprocessing_logger mlevel
        taskctl.core.log: LoggingProxy=LogStream base_logger get_task_logger task_logger
        taskctl.core.log: worker_logger
    """,
    "celery.utils.nodenames": """
        taskctl.compat.nodes: NODENAME_DEFAULT NODENAME_SEP WORKER_DIRECT_EXCHANGE
        taskctl.compat.nodes: WORKER_DIRECT_QUEUE_FORMAT anon_nodename default_nodename gethostname
        taskctl.compat.nodes: host_format node_format nodename nodesplit worker_direct
    """,
    "celery.utils.objects": "types: Bunch=SimpleNamespace",
    "celery.utils.saferepr": "taskctl.core.wire.saferepr: saferepr",
    "celery.utils.serialization": """
        taskctl.compat.tools: b64decode b64encode jsonify strtobool subclass_exception
        taskctl.core.tasks.retrying: raise_with_context
        taskctl.core.wire.foreign: UnpickleableExceptionWrapper=wrapped_exception
        taskctl.core.wire.foreign: create_exception_cls=made_up_class
    """,
    "celery.utils.sysinfo": """
        os: load_average=getloadavg
        taskctl.core.worker.options: available_cpu_count=available_processors
    """,
    "celery.utils.text": """
        taskctl.compat.text: StringIO WhateverIO abbr abbrtask dedent dedent_initial
        taskctl.compat.text: ensure_newlines ensure_sep fill_paragraphs indent join match_case
        taskctl.compat.text: pluralize pretty remove_repeating remove_repeating_from_task
        taskctl.compat.text: simple_format str_to_list truncate
    """,
    "celery.utils.threads": "taskctl.compat.tools: default_socket_timeout\nthreading: get_ident",
    "celery.utils.time": """
        taskctl.compat.times: WEEKDAYS YEARMONTHS ZERO add_seconds_to_datetime adjust_timestamp
        taskctl.compat.times: delta_resolution get_exponential_backoff_interval humanize_seconds
        taskctl.compat.times: is_naive localize make_aware maybe_iso8601 maybe_make_aware
        taskctl.compat.times: rate remaining subtract_datetimes timezone to_utc utcoffset weekday
        taskctl.compat.times: yearmonth
        taskctl.core.clock: maybe_timedelta
    """,
}
