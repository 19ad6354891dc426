"""A worker of a few lines: runs what waits, in this process, without a pool."""

from __future__ import annotations

from typing import Any

import msgspec

from taskctl.core.tasks.execute import Executor, followers_of
from taskctl.core.wire.outcome import Outcome


def drain(app: Any, *queues: str) -> list[Outcome]:
    """Run all messages that wait, and those that follow them, at once; return the outcomes.

    Delays are not waited for.
    """
    executor = Executor(app, hostname="drain@test")
    executor.boot()
    broker = app.shared_connection().broker
    parts = followers_of(app).parts
    outcomes: list[Outcome] = []
    while envelopes := [e for queue in queues or ("celery",) for e in broker.take(queue)]:
        for envelope in envelopes:
            outcome = executor.run(envelope)
            app.backend.store(outcome.results)
            broker.publish([msgspec.structs.replace(p, due=None) for p in outcome.publications])
            assert not outcome.parts, "the backend was away"
            for claim in outcome.claims:
                parts.end(claim)
            outcomes.append(outcome)
    return outcomes
