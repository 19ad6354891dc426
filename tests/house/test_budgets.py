"""What a call and a start may cost, counted: these numbers are the same on every machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from taskctl import App

from .structure import ROOT

OURS = (f"{ROOT}/core/", f"{ROOT}/taskctl/")


class Steps:
    """Our own functions that ran, and how deep they were nested."""

    def __init__(self) -> None:
        self.functions: set[CodeType] = set()
        self.depth = 0
        self._nested = 0

    @property
    def modules(self) -> set[str]:
        return {code.co_filename for code in self.functions}

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if not frame.f_code.co_filename.startswith(OURS):
            return
        if event == "call":
            self.functions.add(frame.f_code)
            self._nested += 1
            self.depth = max(self.depth, self._nested)
        elif event == "return":
            self._nested -= 1

    def __str__(self) -> str:
        names = sorted(
            f"{code.co_filename.removeprefix(str(ROOT))}:{code.co_qualname}"
            for code in self.functions
        )
        return (
            f"{len(self.modules)} modules, {len(self.functions)} functions, depth {self.depth}\n"
            + "\n".join(names)
        )


def steps_of(action: Callable[[], object]) -> Steps:
    """Return what `action` runs of our own code."""
    steps = Steps()
    sys.setprofile(steps)
    try:
        action()
    finally:
        sys.setprofile(None)
    return steps


def test_sending_a_task_stays_within_nine_modules_and_ten_levels() -> None:
    app = App("budget", broker="memory://", backend="memory://", set_as_current=False)

    @app.task(shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    add.delay(2, 2)

    steps = steps_of(lambda: add.delay(2, 2))

    assert len(steps.modules) <= 9, steps
    assert len(steps.functions) <= 45, steps
    assert steps.depth <= 10, steps


def test_asking_for_the_version_loads_neither_click_nor_rich_nor_the_app() -> None:
    script = (
        "import sys; from taskctl.cli import main; code = main(['--version'])\n"
        "heavy = ('click', 'rich', 'redis', 'msgspec', 'logging', 'taskctl.core.app')\n"
        "print(code, [name for name in heavy if name in sys.modules])"
    )

    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert said[0].startswith("taskctl ")
    assert said[1] == "0 []"


def test_a_worker_on_sqlite_loads_neither_the_redis_driver_nor_what_else_is_heavy() -> None:
    script = (
        "import sys, taskctl.core.worker.worker, taskctl.core.brokers.sqlite\n"
        "import taskctl.core.backends.sqlite, taskctl.commands.worker_start\n"
        "heavy = ('redis', 'rich', 'asyncio', 'importlib.metadata', 'email')\n"
        "print([name for name in heavy if name in sys.modules])"
    )

    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout

    assert said.strip() == "[]"
