"""What became of one node, as plain facts that a view draws and JSON carries."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

#: States that mean: what was asked for did not come true.
FAILURES = frozenset({"failed", "refused", "timeout", "held"})


@dataclass(frozen=True)
class Report:
    """One node at one moment.

    States: `ready`, `spawned` (nobody waited), `running` (it was already), `failed`;
    `signalled`, `down`, `stopped`, `killed`, `refused` (not ours to signal), `timeout`;
    `held` (a rolling restart halted before it); `starting`, `stale` (as `status` sees them).
    `seconds` is what it took, or how long it has been up. `running_tasks` is None: unknown here.
    `last_words` are the last lines of its log if it died. `note` is for people.
    """

    node: str
    state: str
    pid: int | None = None
    old_pid: int | None = None
    pidfile: str | None = None
    logfile: str | None = None
    exit_code: int | None = None
    seconds: float | None = None
    running_tasks: int | None = None
    error: str | None = None
    signal: str | None = None
    queues: list[str] = field(default_factory=list)
    last_words: list[str] = field(default_factory=list)
    note: str | None = None

    @property
    def failed(self) -> bool:
        return self.state in FAILURES

    def facts(self) -> dict[str, Any]:
        """Return all of it as plain data; `node` to `queues` are the keys of the JSON document.

        They change only with a major version.
        """
        facts = asdict(self)
        if self.seconds is not None:
            facts["seconds"] = round(self.seconds, 3)
        return facts
