"""The one line of `probe`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taskctl.tables import NOTHING, Column, seconds


def _yes(value: bool) -> str:
    return "yes" if value else "no"


COLUMNS: Sequence[Column] = (
    Column("node", "NODE", shrinks=True),
    Column("live", "LIVE", _yes),
    Column("ready", "READY", _yes),
    Column("beat_age_seconds", "BEAT", seconds, right=True, need=1),
    Column("reasons", "REASONS", lambda reasons: "; ".join(reasons) or NOTHING, shrinks=True),
)


def summary(item: dict[str, Any]) -> str:
    """Return how the node is, in a sentence."""
    who = item["node"] or "the node"
    if item["ready"]:
        return f"{who} lives and takes tasks"
    reasons = "; ".join(item["reasons"])
    what = "lives and takes no tasks" if item["live"] else "does not live"
    return f"{who} {what}: {reasons}" if reasons else f"{who} {what}"
