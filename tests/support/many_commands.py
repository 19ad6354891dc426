"""Run many command lines of the program in one process; started as a program by its tests.

Reads a JSON list from stdin of objects with `words`, and maybe `env` and `files` (path: text, or
null for none). Writes a JSON list of [code, what was said]: stdout, stderr, and the file of a
defect if one is named.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from taskctl.cli import main


def run(words: list[str], env: dict[str, str]) -> tuple[Any, str]:
    """Run one command line as if in a new process; return its exit code and all it said."""
    environ, folder = dict(os.environ), os.getcwd()
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as said:
        for number in (1, 2):
            os.dup2(said.fileno(), number)
        os.environ.update(env)
        try:
            code: Any = main(words)
        except SystemExit as exc:
            code = exc.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, fd in zip((1, 2), kept, strict=True):
                os.dup2(fd, number)
                os.close(fd)
            os.environ.clear()
            os.environ.update(environ)
            os.chdir(folder)
            for name in [name for name in sys.modules if name.partition(".")[0] == "proj"]:
                del sys.modules[name]
        said.seek(0)
        text = said.read().decode(errors="replace")
    for path in re.findall(r"the traceback is in (\S+\.txt)", text):
        with open(path) as file:
            text += file.read()
        os.unlink(path)
    return code, text


if __name__ == "__main__":
    lines = json.load(sys.stdin)
    sys.path.insert(0, os.getcwd())
    # Files change faster than the clock of their bytecode.
    sys.dont_write_bytecode = True
    found = []
    for line in lines:
        for path, text in line.get("files", {}).items():
            Path(path).unlink(missing_ok=True)
            if text is not None:
                Path(path).write_text(text)
        importlib.invalidate_caches()
        found.append(run(line["words"], line.get("env", {})))
    json.dump(found, sys.stdout)
