"""How a node begins: its modules are imported, listeners may change the settings, which are read.

Listeners of `celeryd_init` set up one node among many by its name, so what they change holds for
the node's options too.
"""

from __future__ import annotations

from typing import Any

from ..signals import celeryd_init
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
