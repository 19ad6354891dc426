"""What the beats of an app have noted at the broker, for whoever looks from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .election import candidacy_of, group_of, is_over
from .store import Record, read_note


class Leader(NamedTuple):
    """The beat that leads now."""

    node: str
    host: str | None
    pid: int | None
    term: int


class Shared(NamedTuple):
    """The notes of a group; `leader` is None if nobody leads."""

    group: str
    leader: Leader | None
    records: list[Record]


def ask(app: Any) -> Shared:
    """Return what the broker knows; no records if no beat has ever led there.

    Raises BrokerError if it cannot be asked.
    """
    group = group_of(app)
    candidacy = candidacy_of(app, group, "looking")
    try:
        claim = candidacy.look()
        notes = candidacy.notes()
    finally:
        candidacy.drop()
    found = (read_note(name, note) for name, note in notes.items())
    leads = claim is not None and not is_over(claim.record)
    leader = _leader(claim.record, claim.fence) if claim is not None and leads else None
    return Shared(group, leader, sorted(record for record in found if record is not None))


def _leader(record: Mapping[str, Any], term: int) -> Leader:
    host, pid = record.get("host"), record.get("pid")
    return Leader(
        node=str(record.get("node") or "beat"),
        host=None if host is None else str(host),
        pid=pid if isinstance(pid, int) else None,
        term=term,
    )
