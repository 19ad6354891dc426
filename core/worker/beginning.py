"""How a node begins: its modules are imported, listeners may change the settings, which are read.

Listeners of `celeryd_init` set up one node among many by its name, so what they change holds for
the node's options too.
"""

from __future__ import annotations

from typing import Any

from ..signals import celeryd_after_setup, celeryd_init
from .options import WorkerOptions, resolve


def begin(worker: Any, app: Any, options: WorkerOptions) -> WorkerOptions:
    """Import the app's modules unless that is done; send `celeryd_init`; return the options.

    They are worked out again, from what was asked for and the settings as they are now, if
    anybody listens.
    """
    if not options.extras.pop("imported", False):
        app.import_default_modules()
    app.finalize()
    if not celeryd_init.receivers:
        return options
    given = dict(options.given or {})
    celeryd_init.send(sender=options.hostname, instance=worker, conf=app.conf, options=given)
    if options.given is not None:
        fresh = resolve(app, **{**options.given, "hostname": options.hostname})
        for name in options.resolved:
            setattr(options, name, getattr(fresh, name))
    return options


def set_up(worker: Any) -> None:
    """Send `celeryd_after_setup`: its listeners may select queues for this node, or deselect them.

    So Celery's users give each node a queue of its own: `instance.app.amqp.queues.select_add`.
    """
    if not celeryd_after_setup.receivers:
        return
    queues, consumer = worker.app.queues, worker.consumer
    before = {queue.name for queue in queues.selected}
    celeryd_after_setup.send(sender=worker.hostname, instance=worker, conf=worker.app.conf)
    after = {queue.name: queue for queue in queues.selected}
    for name in before - after.keys():
        consumer.queues.pop(name, None)
    consumer.queues.update((name, after[name]) for name in after.keys() - before)
    worker.options.queues[:] = consumer.queues.values()
