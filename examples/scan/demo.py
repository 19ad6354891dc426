"""Show taskctl at work: a node on the embedded broker, thousands of tasks, then its operation.

Run by `make demo`.  Reads the sources of the Python standard library; writes only below
`.taskctl-demo` beside this file, and removes that at the end.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRATCH = HERE / ".taskctl-demo"
NODE = "w1"
#: Seconds to wait for all results before giving up.
PATIENCE = 120.0

os.environ.update(
    TASKCTL_BROKER_URL=f"sqlite:///{SCRATCH}/queue.db",
    TASKCTL_RUN_DIR=str(SCRATCH / "run"),
    TASKCTL_LOG_DIR=str(SCRATCH / "log"),
    TASKCTL_STATE_DIR=str(SCRATCH / "state"),
)
os.chdir(HERE)
sys.path.insert(0, str(HERE))

from filescan.tasks import digest, measure  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn  # noqa: E402

from taskctl import group  # noqa: E402

console = Console(highlight=False)


def say(text: str) -> None:
    console.print(f"\n[bold]{text}[/bold]")


def run(line: str, *, check: bool = True) -> None:
    """Show a command line, and run it."""
    console.print(f"[cyan]$ {line}[/cyan]")
    words = shlex.split(line)
    done = subprocess.run([sys.executable, "-m", "taskctl", *words[1:]], check=False)
    if check and done.returncode:
        raise SystemExit(f"error: {line!r} ended with {done.returncode}")


def sources() -> list[str]:
    """Return every source file of the standard library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = (path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    return sorted(str(path) for path in found)


def scan(paths: list[str]) -> tuple[list[dict[str, int]], list[str]]:
    """Send two tasks for each file, and watch them come in."""
    began = time.monotonic()
    measures = group(measure.s(path) for path in paths).apply_async()
    digests = group(digest.s(path) for path in paths).apply_async()
    total = 2 * len(paths)
    sent = time.monotonic() - began
    console.print(f"{total:,} tasks sent in {sent:.1f} s")
    deadline = time.monotonic() + PATIENCE
    with Progress(
        TextColumn("working"), BarColumn(), MofNCompleteColumn(), console=console
    ) as progress:
        bar = progress.add_task("scan", total=total)
        done = 0
        while done < total:
            done = measures.completed_count() + digests.completed_count()
            progress.update(bar, completed=done)
            if time.monotonic() > deadline:
                raise SystemExit(f"error: {total - done} results are missing; see {SCRATCH}/log")
            time.sleep(0.1)
    took = time.monotonic() - began
    console.print(f"{total:,} results in {took:.1f} s: {total / took:,.0f} tasks a second")
    return measures.get(timeout=30), digests.get(timeout=30)


def summary(paths: list[str], sizes: list[dict[str, int]], prints: list[str]) -> None:
    lines, words = sum(s["lines"] for s in sizes), sum(s["words"] for s in sizes)
    console.print(f"{len(paths):,} files, {lines:,} lines, {words:,} words")
    copies: defaultdict[str, list[str]] = defaultdict(list)
    for path, size, fingerprint in zip(paths, sizes, prints, strict=True):
        if size["bytes"]:
            copies[fingerprint].append(path)
    twins = [same for same in copies.values() if len(same) > 1]
    console.print(f"{len(twins)} contents occur more than once, for example:")
    for same in sorted(twins, key=len, reverse=True)[:3]:
        console.print(f"  {len(same)} x {Path(same[0]).name}")


def main() -> None:
    shutil.rmtree(SCRATCH, ignore_errors=True)
    say("A node with two children, on the embedded broker")
    run(f"taskctl multi start {NODE} -A filescan -c 2 -l INFO")
    try:
        say("Work: every source file of the standard library, measured and hashed")
        paths = sources()
        summary(paths, *scan(paths))
        say("Operate it")
        run("taskctl -A filescan status")
        run("taskctl -A filescan inspect stats")
        run("taskctl -A filescan control rate_limit filescan.tasks.digest 10/m")
        run("taskctl -A filescan inspect registered rate_limit")
        run("taskctl -A filescan config show")
    finally:
        say("Stop it")
        run(f"taskctl multi stopwait {NODE}", check=False)
        shutil.rmtree(SCRATCH, ignore_errors=True)
    say("Nothing is left running. Next: docs/tutorial.md")


if __name__ == "__main__":
    main()
