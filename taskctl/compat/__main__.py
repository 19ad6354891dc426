"""`python -m taskctl.compat script.py [ARGS]`, `-m MODULE [ARGS]`, `-c CODE`: Python, with
`import celery` finding taskctl."""

from __future__ import annotations

import os
import runpy
import sys
from types import ModuleType

from . import install

_USAGE = """\
usage: python -m taskctl.compat SCRIPT [ARGS]
       python -m taskctl.compat -m MODULE [ARGS]
       python -m taskctl.compat -c CODE [ARGS]
Run a program in which `import celery` finds taskctl."""


def main(words: list[str]) -> int:
    """Run what the words name, as Python itself would; return the exit code."""
    if not words or words[0] in ("-h", "--help"):
        print(_USAGE, file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    if words[0] in ("-m", "-c") and len(words) < 2:
        print(f"error: {words[0]} needs a value\n{_USAGE}", file=sys.stderr)
        return 2
    install()
    if words[0] == "-m":
        module = _OURS.get(words[1], words[1])
        sys.path[0] = os.getcwd()
        sys.argv = words[1:]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.path[0] = ""
        sys.argv = ["-c", *words[2:]]
        sys.modules["__main__"] = program = ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), program.__dict__)
    else:
        if not os.path.exists(words[0]):
            print(f"error: cannot open {words[0]!r}: no such file", file=sys.stderr)
            return 2
        sys.path[0] = os.path.dirname(os.path.abspath(words[0]))
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")
    return 0


#: Modules that are run by a name of Celery's.
_OURS = {"celery": "taskctl", "celery.__main__": "taskctl"}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
