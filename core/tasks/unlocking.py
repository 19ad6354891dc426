"""How `celery.chord_unlock` ends a chord whose header is ready."""

from __future__ import annotations

import logging
from typing import Any

from ..errors import ChordError
from .followers import Followers
from .metas import MetaWriter
from .parts import Effects, Parts, as_chord_error

log = logging.getLogger("taskctl.tasks")


class Unlocking:
    """One run of the task; what follows is published with the end of that run."""

    def __init__(self, app: Any, request: Any) -> None:
        self.request = request
        self.followers = Followers(
            app, MetaWriter(app), bool(app.conf.task_inherit_parent_priority)
        )
        self.parts = Parts(app, self.followers)
        self.effects = request._effects = Effects()

    def finish(self, awaited: Any, body: Any) -> None:
        """Call the body with the values of the header, or fail it."""
        try:
            values = self.parts.values_of(awaited)
        except Exception as exc:
            self.fail(body, as_chord_error(exc, "Join error"))
            return
        request = self.request
        try:
            self.effects.publications += self.parts.call(body, values, request.id, request.root_id)
        except Exception as exc:
            log.exception("the body of chord %s cannot be sent", awaited.id)
            self.fail(body, as_chord_error(exc, "Callback error"))

    def fail(self, body: Any, exc: ChordError) -> None:
        """Fail the body and all that would have followed it."""
        log.error("Chord body %s[%s] does not run: %s", body.task, body.id, exc)
        after = self.followers.after_chord_error(body, exc)
        self.effects.results += after.results
        self.effects.publications += after.publications
