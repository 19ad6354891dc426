"""`taskctl inspect`: ask running nodes what they do."""

from __future__ import annotations

from taskctl.selection import list_options
from taskctl.watch import watch_option

from .remote_run import make_command

command = make_command(
    "inspect",
    "Ask running nodes what they do; --list names the commands.",
    ("taskctl -A proj inspect active", "taskctl -A proj inspect stats -d w1 -j"),
    [watch_option(), *list_options()],
)
