"""The program `taskctl`: finds the command, and turns every error into one line and an exit code.

`taskctl --version` answers before anything else is loaded; `--help` and completion know the
commands from a table and load none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .core.commandline import hide_secrets
from .core.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"taskctl {__version__}")
        return 0
    if words[:1] == ["probe"]:
        # Asked so often that it gets an answer without what the other commands need.
        from .probing import quick

        if (code := quick(words)) is not None:
            return code
    if argv is None:
        hide_secrets()
    # The rest of the program needs click, which this one question should not wait for.
    from .program import run

    return run(words)
