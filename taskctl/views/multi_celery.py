"""The lines that Celery 5.7's `multi` prints, for scripts that read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def waiting_line(pids: Sequence[int]) -> str:
    """Return the line that says for whom we wait; Celery puts a dot behind it for each look."""
    nodes = "node" if len(pids) == 1 else "nodes"
    return f"> Waiting for {len(pids)} {nodes} -> {', '.join(map(str, pids))}..."


def celery_lines(command: str, report: Mapping[str, Any]) -> list[str]:
    """Return Celery's lines for what became of a node."""
    node, pid, old, state = (report[key] for key in ("node", "pid", "old_pid", "state"))
    intro = f"> Restarting node {node}: " if command == "restart" else f"\t> {node}: "
    match state:
        case "ready" | "running" | "spawned":
            return [f"{intro}OK"]
        case "failed":
            code = report["exit_code"] or 0
            if code > 128:
                return [f"{intro}* Child was terminated by signal {code - 128}", "FAILED"]
            if code:
                return [f"{intro}* Child terminated with exit code {code}", "FAILED"]
            return [f"{intro}FAILED"]
        case "signalled" if command == "kill":
            return [f"Sending {report['signal']} to node {node} ({pid})"]
        case "signalled":
            return [f"\t> {node}: {report['signal']} -> {pid}"]
        case "stopped" if command == "restart":
            return [f"\t> {node}: OK"]
        case "stopped":
            return [f"\t> {node}: OK", f"> {node}: DOWN"]
        case "down" if old:
            return [f"Could not signal {node} ({old}): No such process", f"> {node}: DOWN"]
        case "down":
            return [] if command == "restart" else [f"> {node}: DOWN"]
        case "killed":
            return [] if command == "kill" else [f"\t> {node}: KILLED"]
    return [f"\t> {node}: {state.upper()}"]
