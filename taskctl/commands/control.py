"""`taskctl control`: tell running nodes what to do."""

from __future__ import annotations

from taskctl.command import Option
from taskctl.remote import REMOTE

from .remote_run import make_command

command = make_command(
    "control",
    "Tell running nodes what to do; --list names the commands.",
    (
        "taskctl -A proj control rate_limit proj.thumbnail 10/m",
        "taskctl -A proj control -d w1@host add_consumer video",
    ),
    [
        Option(
            ["--terminate"], is_flag=True, default=None, group=REMOTE,
            help="with revoke: also kill what runs",
        ),
        Option(
            ["--signal"], metavar="SIG", group=REMOTE, help="with --terminate (default: TERM)"
        ),
        Option(
            ["--dry-run"], is_flag=True, group=REMOTE,
            help="say what would be sent, and to which nodes",
        ),
    ],
)  # fmt: skip
