"""A session of `taskctl amqp`: line after line on one connection, with completion and history.

An error ends its own line only. In a pipe the first one ends the session, as in `sh -e`.
"""

from __future__ import annotations

import contextlib
import difflib
import shlex
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from taskctl.complaints import tell
from taskctl.failures import OK, CommandError, usage

from .amqp_verbs import VERBS

if TYPE_CHECKING:
    from .amqp_session import Session

_LEAVING = ("exit", "quit", ":q", "EOF")
_WORDS = (*VERBS, "help", "exit")


def run_session(session: Session, *, prompting: bool) -> int:
    """Obey lines until the end; return the exit code."""
    if prompting:
        _prepare_completion()
        _say("help lists the commands; exit, or Ctrl-D, ends")
    for line in _lines("amqp> " if prompting else ""):
        try:
            words = _split(line)
            if words and words[0] in _LEAVING:
                return OK
            if words:
                _obey(session, words)
        except CommandError as error:
            session.console.out.flush()
            tell(error)
            if not prompting:
                return error.exit_code
    return OK


def complete(begun: str) -> list[str]:
    """Return the commands that begin so."""
    return [f"{word} " for word in _WORDS if word.startswith(begun)]


def _obey(session: Session, words: list[str]) -> None:
    name, *rest = words
    if name in ("help", "?"):
        for line in _help(rest):
            session.console.line(line)
        return
    verb = VERBS.get(name)
    if verb is None:
        near = difflib.get_close_matches(name, _WORDS, 1)
        raise usage(
            f"no AMQP command {name!r}", f"did you mean: {near[0]}" if near else "see: help"
        )
    session.say(verb, rest)


def _help(names: list[str]) -> Iterator[str]:
    chosen = [VERBS[name] for name in names if name in VERBS] or list(VERBS.values())
    for verb in chosen:
        yield f"{verb.name} {verb.signature}"
        yield f"    {verb.help}"
    if not names:
        yield "help [COMMAND]"
        yield "exit"


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as exc:
        raise usage(f"{line.strip()}: {str(exc).lower()}") from exc


def _lines(prompt: str) -> Iterator[str]:
    """Yield lines as they are typed; Ctrl-C drops one, Ctrl-D ends."""
    if not prompt:
        yield from sys.stdin
        return
    while True:
        try:
            yield input(prompt)
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print("^C")


def _prepare_completion() -> None:
    # Some Pythons are built without it; a session works without too.
    with contextlib.suppress(ImportError):
        import readline

        readline.set_completer_delims(" \t")
        readline.set_completer(_completer(complete))
        readline.parse_and_bind("tab: complete")


def _completer(find: Callable[[str], list[str]]) -> Callable[[str, int], str | None]:
    def completer(begun: str, number: int) -> str | None:
        found = find(begun)
        return found[number] if number < len(found) else None

    return completer


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
