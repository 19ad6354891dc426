"""What Celery has and taskctl has not: `reason | what to do instead`, by module and by name.

A reason stands for a module and all below it, unless one below has its own.
"""

from __future__ import annotations

_INSIDE = "it is a part of Celery's inside"
_BLUEPRINT = "a worker is one loop, and has no such part"
_STEPS = "add a step to app.steps['worker'], see taskctl.bootsteps"
_POOLS = (
    "a pool is a part of the worker that cannot be replaced | "
    "use -P prefork, asyncio, threads or solo"
)
_BACKEND = "there is no result backend of this kind | see docs/celery-parity.md for those there are"
_CONSTANT = "it is a constant of Celery's inside"

MODULES: dict[str, str] = {
    "celery": _INSIDE,
    "celery._state": f"{_INSIDE} | use current_app and current_task",
    "celery.app.amqp": f"{_INSIDE} | use app.amqp, app.queues and app.router",
    "celery.app.annotations": _INSIDE,
    "celery.app.backends": f"{_INSIDE} | name a backend in result_backend",
    "celery.app.builtins": _INSIDE,
    "celery.app.control": _INSIDE,
    "celery.app.defaults": f"{_INSIDE} | see docs/settings.md, and app.conf",
    "celery.app.routes": f"{_INSIDE} | write a function for task_routes",
    "celery.app.task": _INSIDE,
    "celery.app.trace": f"{_INSIDE}: the texts of the log are fixed | listen to signals",
    "celery.app.utils": _INSIDE,
    "celery.apps": f"{_INSIDE} | run 'taskctl worker', 'taskctl beat' or 'taskctl multi'",
    "celery.backends": _BACKEND,
    **dict.fromkeys(
        (
            f"celery.backends.{name}"
            for name in "cache database filesystem mongodb redis rpc".split()
        ),
        f"{_INSIDE} | name the backend in result_backend",
    ),
    "celery.backends.base": f"{_INSIDE} | derive from taskctl.core.backends.base.Backend",
    "celery.backends.asynchronous": _INSIDE,
    "celery.beat": _INSIDE,
    "celery.bin": f"{_INSIDE} | run the command of taskctl of the same name",
    "celery.bootsteps": f"{_BLUEPRINT} | {_STEPS}",
    "celery.canvas": _INSIDE,
    "celery.concurrency": _POOLS,
    "celery.concurrency.eventlet": "there are no green threads | use -P threads",
    "celery.concurrency.gevent": "there are no green threads | use -P threads",
    "celery.contrib.migrate": "it works on kombu's messages | run 'taskctl migrate'",
    "celery.contrib.rdb": _CONSTANT,
    "celery.contrib.sphinx": "there is no extension for Sphinx | use autodoc and __wrapped__",
    "celery.contrib.testing": "it is for Celery's own tests | use pytest",
    "celery.events": _INSIDE,
    "celery.events.cursesmon": f"{_INSIDE} | run 'taskctl top'",
    "celery.events.dumper": f"{_INSIDE} | run 'taskctl events --dump', or -o jsonl",
    "celery.exceptions": _INSIDE,
    "celery.fixups": _CONSTANT,
    "celery.loaders": _INSIDE,
    "celery.local": f"{_INSIDE} | use functools and importlib",
    "celery.platforms": f"{_INSIDE} | use the options --pidfile, --uid, --gid and --detach",
    "celery.result": _CONSTANT,
    "celery.schedules": _CONSTANT,
    "celery.security": f"{_INSIDE} | call app.setup_security",
    "celery.utils": _INSIDE,
    "celery.utils.abstract": _INSIDE,
    "celery.utils.annotations": f"{_INSIDE} | use typing",
    "celery.utils.collections": f"{_INSIDE} | use collections",
    "celery.utils.debug": f"{_INSIDE} | use psutil, or 'taskctl inspect memdump'",
    "celery.utils.deprecated": f"{_INSIDE} | use warnings.warn",
    "celery.utils.dispatch": _CONSTANT,
    "celery.utils.functional": f"{_INSIDE} | use functools and itertools",
    "celery.utils.graph": f"{_INSIDE} | use graphlib; 'taskctl graph' draws",
    "celery.utils.imports": _INSIDE,
    "celery.utils.iso8601": _CONSTANT,
    "celery.utils.log": _INSIDE,
    "celery.utils.nodenames": _INSIDE,
    "celery.utils.objects": f"{_INSIDE} | use types and contextlib",
    "celery.utils.quorum_queues": _INSIDE,
    "celery.utils.saferepr": _INSIDE,
    "celery.utils.serialization": _INSIDE,
    "celery.utils.static": _INSIDE,
    "celery.utils.sysinfo": f"{_INSIDE} | use psutil",
    "celery.utils.term": f"{_INSIDE} | use click.style",
    "celery.utils.text": _CONSTANT,
    "celery.utils.threads": f"{_INSIDE} | use threading and contextvars",
    "celery.utils.time": f"{_INSIDE} | use datetime and zoneinfo",
    "celery.utils.timer2": f"{_INSIDE} | use threading.Timer",
    "celery.worker": f"{_BLUEPRINT} | {_STEPS}",
    "celery.worker.autoscale": "the pool is resized by the worker itself | use --autoscale",
    "celery.worker.control": (
        "what a node does for a remote command is no function of its own | "
        "use app.control and app.control.inspect()"
    ),
    "celery.worker.request": _INSIDE,
    "celery.worker.state": f"{_INSIDE} | ask app.control.inspect()",
    "celery.worker.strategy": f"{_INSIDE} | listen to the signal task_received",
    "kombu": (
        "of kombu only what Celery's own programs import is here | "
        "send a task, or run this program on kombu itself"
    ),
    "billiard": "of billiard only what multiprocessing has is here | use multiprocessing",
}

#: Single names with a reason of their own.
NAMES: dict[str, str] = {
    "celery.bootsteps.ConsumerStep": (
        "a worker takes task messages only, and hands no channel out | "
        "read other messages in a program of their own"
    ),
    "celery.bootsteps.Blueprint": f"{_BLUEPRINT} | {_STEPS}",
    "celery.events.snapshot.evcam": "it is a program | run 'taskctl events --camera CLASS'",
    "celery.events.state.CallableDefaultdict": _INSIDE,
    "celery.beat.BeatPidbox": f"{_INSIDE} | set beat_enable_remote_control",
    "celery.contrib.testing.manager": "it is for Celery's own tests | use pytest",
    "kombu.Connection": (
        "kombu's connections are not here | use app.connection_for_write(), or a task"
    ),
    "kombu.Consumer": "a worker takes task messages only | make it a task",
    "kombu.Producer": "there is none without an app | use app.producer_pool.acquire()",
}
