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
    `held` (a rolling restart halted before it). As `status` sees them also: `starting`,
    `unready` (it cannot take tasks now), `quiet`, `stopping`, `stuck`, `stale`, `unknown`.
    `seconds` is what it took, or how long it has been up. `running_tasks`, and the age of the
    oldest of them, are what the node last said in its health file; None: unknown.
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
    oldest_seconds: float | None = None
    last_words: list[str] = field(default_factory=list)
    note: str | None = None

    @property
    def failed(self) -> bool:
        return self.state in FAILURES

    def facts(self) -> dict[str, Any]:
        """Return all of it as plain data.

        `node` to `oldest_seconds` are keys of the JSON document: they change with a major
        version only.
        """
        facts = asdict(self)
        for key in ("seconds", "oldest_seconds"):
            if facts[key] is not None:
                facts[key] = round(facts[key], 3)
        return facts
