"""Draw the pictures of README.md and docs/: real commands on real nodes, as a terminal shows them.

Run as `python docs/pictures.py [FOLDER]` (or `make pictures`); writes docs/pictures/*.svg. Each
scene types its lines into a terminal of its own size; what they print is what is drawn.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "pictures"

PROJECT = """\
import time

from taskctl import App

app = App("shop")
app.conf.task_time_limit = 330
app.conf.task_soft_time_limit = 300


@app.task
def thumbnail(path, size):
    time.sleep(600)


@app.task
def mail(to):
    return f"sent to {to}"


@app.task
def add(x, y):
    return x + y
"""

#: The drawing, with the fonts of whoever looks: nothing is fetched from anywhere.
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


@dataclass(frozen=True)
class Scene:
    """A picture: the lines that are typed, and the terminal they are typed into."""

    name: str
    title: str
    lines: tuple[str, ...]
    columns: int = 92


SCENES = (
    Scene(
        "multi",
        "start nodes, and know that they take tasks",
        (
            "taskctl multi start w1 w2 -A shop -n web3 -c 2 -Q:w1 images,celery -Q:w2 celery",
            "taskctl multi status",
        ),
    ),
    Scene(
        "status",
        "how is everything",
        ("taskctl -A shop status", "taskctl -A shop inspect active", "taskctl -A shop queue ls"),
    ),
    Scene(
        "control",
        "tell nodes something while they run",
        (
            "taskctl -A shop control rate_limit shop.mail 10/m",
            "taskctl -A shop control rate_limit shop.nosuch 10/m",
            "taskctl -A shop inspect stats -d w1",
        ),
    ),
    Scene(
        "doctor",
        "what is wrong, and how to cure it",
        ("taskctl -A shop doctor",),
    ),
    Scene(
        "errors",
        "one line, and the cure",
        (
            "taskctl -A shopp status",
            "taskctl statsu",
            "taskctl -A shop control rate_limit",
            "taskctl -b redis://ops:secret@127.0.0.1:1/0 status",
        ),
    ),
    Scene("top", "watch it live", ("taskctl -A shop top --once",), 100),
)


class Stage:
    """A folder with a project in it, and places of its own for all files."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="shop-"))
        (self.folder / "shop.py").write_text(PROJECT)
        bin = self.folder / "bin"
        bin.mkdir()
        program = bin / "taskctl"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m taskctl "$@"\n')
        program.chmod(0o755)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TASKCTL_", "CELERY_"))}
        places = {f"TASKCTL_{k.upper()}_DIR": str(self.folder / k) for k in ("run", "log", "state")}
        self.env = {
            **kept,
            **places,
            "PATH": f"{bin}:{kept['PATH']}",
            "TERM": "xterm-256color",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }

    def run(self, line: str) -> None:
        """Run a line that is in no picture."""
        subprocess.run(
            shlex.split(line), cwd=self.folder, env=self.env, check=True, capture_output=True
        )

    def type(self, line: str, columns: int) -> str:
        """Run a line on a terminal; return all the terminal shows, colours and all."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = subprocess.Popen(
            shlex.split(line), cwd=self.folder, env=self.env, stdin=follower, stdout=follower,
            stderr=follower, start_new_session=True,
        )  # fmt: skip
        os.close(follower)
        shown = b""
        # EIO is how a terminal says that nobody has it open any more.
        with contextlib.suppress(OSError):
            while part := os.read(leader, 65536):
                shown += part
        os.close(leader)
        process.wait()
        text = shown.decode().replace("\r\n", "\n").rstrip("\n")
        return text.replace(str(self.folder), "/srv/shop")

    def close(self) -> None:
        """Stop what runs here, and remove the folder."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.run("taskctl multi kill -y")
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Set the stage; it is cleared afterwards, whatever happens."""
    it = Stage()
    try:
        yield it
    finally:
        it.close()


def draw(scene: Scene, stage: Stage) -> str:
    """Return the picture of a scene."""
    console = Console(record=True, width=scene.columns, file=io.StringIO(), force_terminal=True)
    for number, line in enumerate(scene.lines):
        if number:
            console.print()
        console.print(Text.assemble(("$ ", "green"), (line, "bold")))
        console.print(Text.from_ansi(stage.type(line, scene.columns)))
    return console.export_svg(
        title=scene.title, theme=MONOKAI, code_format=SVG, unique_id=f"taskctl-{scene.name}"
    )


def busy(stage: Stage) -> None:
    """Give the nodes something to do."""
    for name in ("a.png", "b.png", "c.png"):
        stage.run(f"""taskctl -A shop call shop.thumbnail -a '["{name}"]' -k '{{"size": 256}}'""")
    for number in range(5):
        stage.run(f"taskctl -A shop call shop.add -a '[{number}, 1]' -q")
    stage.run("taskctl -A shop call shop.mail --queue video -a '[\"ops@example.com\"]'")
    deadline = time.monotonic() + 30
    while "c.png" not in stage.type("taskctl -A shop inspect active -o plain", 200):
        if time.monotonic() > deadline:
            raise RuntimeError("the nodes did not begin")


def main(words: list[str]) -> int:
    folder = Path(words[0]) if words else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with stage() as it:
        for scene in SCENES:
            (folder / f"{scene.name}.svg").write_text(draw(scene, it))
            if scene.name == "multi":
                busy(it)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
