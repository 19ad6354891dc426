"""Transcripts: what is typed and what the real program answers, checked line by line.

A transcript is a text file:

    # a remark
    @node w1 -Q images     start a node w1@h of the project, and wait until it is ready
    @kill w1               kill it with SIGKILL;  @freeze w1, @thaw w1: SIGSTOP, SIGCONT
    @file PATH             write the lines that follow, up to a line `@end`
    @terminal 80           from here on lines are typed on a terminal of so many columns
    @pipe                  from here on stdout and stderr are pipes (as at the start)
    @env NAME=VALUE        from here on; without a value: unset
    @until                 the next line is typed again until it answers as it should
    $ taskctl status       a line for sh
    NODE  STATE            what stdout, or the terminal, shows
    ! error: no app        what stderr says (in pipes)
    > y                    typed into the terminal (in pipes such a line is one of stdout)
    = 2                    its exit code, if it is not 0

Runs of blanks count as one. Between braces stands what differs from run to run: `{n}` a number,
`{s}` a length of time, `{id}` an id or its beginning, `{port}`, `{*}` anything in the line; a line
`{...}` stands for any lines.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .shell import Said, Shell
from .waiting import eventually

_PLACES = {
    "n": r"[\d,]+(?:\.\d+)?",
    "s": r"[\d.,]+ (?:ms|s|m|h|d)(?: \d+ [smh])?",
    "id": r"[0-9a-f-]{8,36}",
    "port": r"\d+",
    "*": r".*",
}
_TALK = re.compile(r"^(note|warning|error):|^\S+ +error ")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@dataclass
class Step:
    """One typed line, and what should come of it."""

    line: str
    number: int
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    answer: str = ""
    code: int = 0
    again: bool = False


class Script:
    """Plays one transcript in a folder with the project of tests.support.shell."""

    def __init__(self, path: Path, shell: Shell) -> None:
        self.path = path
        self.shell = shell
        self.columns: int | None = None
        self.nodes: dict[str, subprocess.Popen[str]] = {}
        self.again = False
        bin = shell.folder / "bin"
        bin.mkdir()
        program = bin / "taskctl"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(shell.argv())} "$@"\n')
        program.chmod(0o755)
        shell.env["PATH"] = f"{bin}:{shell.env['PATH']}"
        shell.env["F"] = str(shell.folder)

    def play(self) -> None:
        """Do all that it says; AssertionError at the first line that answers differently."""
        lines = list(enumerate(self.path.read_text().splitlines(), 1))
        while lines:
            number, text = lines.pop(0)
            if text.startswith("@file "):
                self._write(text.split()[1], lines)
            elif text.startswith("@"):
                self._direct(text[1:])
            elif text.startswith("$ "):
                step = Step(text[2:], number, again=self.again)
                self.again = False
                _gather(step, lines, typed=self.columns is not None)
                self._take(step)
            elif text and not text.startswith("#"):
                raise AssertionError(f"{self.path.name}:{number}: out of place: {text}")

    def _write(self, name: str, lines: list[tuple[int, str]]) -> None:
        path = self.shell.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        held = []
        while (text := lines.pop(0)[1]) != "@end":
            held.append(text)
        path.write_text("\n".join(held) + "\n")

    def _direct(self, text: str) -> None:
        word, *rest = shlex.split(text)
        match word:
            case "node":
                self.nodes[rest[0]] = self.shell.node(*rest)
            case "kill":
                self.nodes[rest[0]].kill()
                self.nodes[rest[0]].wait()
            case "freeze" | "thaw":
                number = signal.SIGSTOP if word == "freeze" else signal.SIGCONT
                os.kill(self.nodes[rest[0]].pid, number)
            case "terminal":
                self.columns = int(rest[0])
            case "pipe":
                self.columns = None
            case "until":
                self.again = True
            case "env":
                name, sign, value = rest[0].partition("=")
                self.shell.env.pop(name, None)
                if sign:
                    self.shell.env[name] = value
            case _:
                raise AssertionError(f"{self.path.name}: unknown word @{word}")

    def _take(self, step: Step) -> None:
        if step.again:
            eventually(lambda: self._differs(step) is None, within=30)
            return
        difference = self._differs(step)
        assert difference is None, difference

    def _differs(self, step: Step) -> str | None:
        """Return how the program's answer differs; None if it does not."""
        said = self._run(step)
        shown = _ESCAPES.sub("", said.out)
        wrong = [
            what
            for what, expected, got in (
                ("stdout" if self.columns is None else "the terminal", step.out, shown),
                ("stderr", step.err, said.err),
            )
            if not _alike(expected, got, str(self.shell.folder))
        ]
        if said.code != step.code:
            wrong.append(f"exit code {said.code}, not {step.code}")
        # What is talk, or a node's own words, may take two lines of the screen.
        tables = [line for line in shown.splitlines() if not _TALK.search(line)]
        widest = max(map(len, tables), default=0)
        if self.columns and widest > self.columns and not step.answer:
            wrong.append(f"{widest} columns on a terminal of {self.columns}")
        if not wrong:
            return None
        return (
            f"{self.path.name}:{step.number}: $ {step.line}: {', '.join(wrong)}\n"
            f"--- out\n{shown}--- err\n{said.err}"
        )

    def _run(self, step: Step) -> Said:
        if self.columns is not None:
            return self.shell.type_line(step.line, answer=step.answer, columns=self.columns)
        done = subprocess.run(
            ["sh", "-c", step.line],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.shell.folder,
            env=self.shell.env,
            timeout=60,
        )
        return Said(done.returncode, done.stdout, done.stderr)


def _gather(step: Step, lines: list[tuple[int, str]], *, typed: bool) -> None:
    """Take the lines that belong to a step, up to an empty line or the next step."""
    while lines and lines[0][1] and not lines[0][1].startswith(("$ ", "@", "# ")):
        text = lines.pop(0)[1]
        if text.startswith("! "):
            step.err.append(text[2:])
        elif typed and text.startswith("> "):
            step.answer += text[2:] + "\n"
        elif re.fullmatch(r"= \d+", text):
            step.code = int(text[2:])
        else:
            step.out.append(text)


def _alike(expected: list[str], got: str, folder: str) -> bool:
    patterns = list(_patterns(expected))
    lines = [_blanks(line) for line in got.replace(folder, "$F").splitlines() if line.strip()]
    return re.fullmatch("".join(patterns), "".join(f"{line}\n" for line in lines)) is not None


def _patterns(expected: list[str]) -> Iterator[str]:
    for line in expected:
        if line == "{...}":
            yield r"(?:.*\n)*"
            continue
        parts = re.split(r"\{(n|s|id|port|\*)\}", _blanks(line))
        texts = [_PLACES[part] if odd % 2 else re.escape(part) for odd, part in enumerate(parts)]
        yield "".join(texts) + r"\n"


def _blanks(line: str) -> str:
    return " ".join(line.split())
