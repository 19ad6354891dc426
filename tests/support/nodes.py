"""Run `taskctl multi` as a program of its own, on stand-in nodes, in folders of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAND_IN = Path(__file__).with_name("stand_in_node.py")
_PROGRAM = "import sys; from taskctl.commands.multi import run; sys.exit(run(sys.argv[1:]))"


@dataclass
class Done:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.out)

    def node(self, name: str) -> dict[str, Any]:
        """What the JSON document says of the node with this short name."""
        for full, value in self.document["nodes"].items():
            if full.partition("@")[0] == name:
                return value.get("ok") or value["error"]
        raise KeyError(name)


class Host:
    """A place to run nodes in: folders for pidfiles, logs and records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TASKCTL_", "CELERY_"))
        }
        for kind in ("run", "log", "state"):
            self.env[f"TASKCTL_{kind.upper()}_DIR"] = str(folder / kind)

    def multi(self, *argv: str, cwd: Path | None = None, **env: str) -> Done:
        """Run `taskctl multi` with stand-in nodes where it may start some."""
        done = subprocess.run(
            self.command(*argv),
            capture_output=True,
            text=True,
            env={**self.env, **env},
            cwd=cwd or self.folder,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def command(self, *argv: str) -> list[str]:
        stand_in = [f"--cmd={STAND_IN}"] if argv[:1] == ("start",) else []
        return [sys.executable, "-c", _PROGRAM, *argv[:1], *stand_in, *argv[1:]]

    def start(self, *argv: str, **env: str) -> Done:
        done = self.multi("start", *argv, **env)
        assert done.code == 0, done.err
        return done

    def pid(self, name: str) -> int:
        return int((self.folder / "run" / f"{name}.pid").read_text())

    def told(self, name: str) -> dict[str, Any]:
        """What the stand-in found: its arguments and its folder."""
        return json.loads((self.folder / "run" / f"{name}.pid.argv").read_text())

    def log(self, name: str) -> str:
        return (self.folder / "log" / f"{name}.log").read_text()

    def kill_all(self) -> None:
        """End every node that still runs here, found by its pidfile's folder."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._is_ours(entry):
                os.kill(int(entry.name), signal.SIGKILL)

    def _is_ours(self, entry: Path) -> bool:
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return bytes(STAND_IN) in words and any(bytes(self.folder) in word for word in words)
