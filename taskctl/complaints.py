"""Errors as the user sees them: one line, its cures below it, and an exit code."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys

import click

from taskctl.core.redact import mask_text

from .failures import DEFECT, INTERRUPTED, USAGE, CommandError, describe

#: How click says that a word is no number.
_NUMBERS = re.compile(r"is not a valid (float|integer)( range)?$")


def complain(exc: BaseException, *, verbose: int = 0) -> int:
    """Tell an error on stderr; return the exit code.

    With `verbose` the traceback goes first. A defect of ours is written to a file.
    """
    error = _of_click(exc) if isinstance(exc, click.ClickException) else describe(exc)
    if isinstance(exc, click.Abort):
        error = CommandError("interrupted", exit_code=INTERRUPTED, code="interrupted")
    if error is None:
        error = _defect(exc)
    if verbose and not isinstance(exc, click.ClickException):
        print(mask_text(_traceback(exc)), file=sys.stderr)
    tell(error)
    return error.exit_code


def tell(error: CommandError) -> None:
    """Write an error to stderr, as text or as JSON if TASKCTL_ERRORS says so."""
    message, hints = mask_text(error.message), [mask_text(hint) for hint in error.hints]
    if os.environ.get("TASKCTL_ERRORS", "").lower() == "json":
        facts = {"code": error.code, "message": message, "hint": "; ".join(hints) or None}
        line = json.dumps({"error": {**facts, "exit": error.exit_code}}, ensure_ascii=False)
        print(line, file=sys.stderr)
        return
    print(f"error: {message}", file=sys.stderr)
    for hint in hints:
        print(f"  {hint}", file=sys.stderr)


def _of_click(exc: click.ClickException) -> CommandError:
    """Return click's complaint about a command line, in our form."""
    ctx = getattr(exc, "ctx", None)
    path = ctx.command_path if ctx is not None else "taskctl"
    hints = [f"see: {path} --help"]
    message = exc.format_message().strip().rstrip(".")
    match exc:
        case click.NoSuchOption():
            message = f"no option {exc.option_name} in {path}"
            near = difflib.get_close_matches(exc.option_name, exc.possibilities or (), 2, 0.7)
            if near:
                hints = [f"did you mean: {', '.join(near)}"]
        case click.MissingParameter():
            name = exc.param.make_metavar(ctx) if exc.param is not None and ctx else "an argument"
            message = f"{path} wants {name}, got nothing"
        case click.BadParameter() if exc.param is not None:
            # A value shows itself behind its option where its type says so (command.BadValue).
            spelling = _spelling(exc)
            if hasattr(exc, "value"):
                spelling += f"{' ' if spelling.startswith('-') else '='}{exc.value}"
            message = f"{spelling}: {_NUMBERS.sub(_number, exc.message.rstrip('.'))}"
        case _:
            message = message[:1].lower() + message[1:]
    return CommandError(message, *hints, exit_code=USAGE, code="usage")


def _spelling(exc: click.BadParameter) -> str:
    """Return how the bad value was given: the option, or the variable it came from."""
    param, ctx = exc.param, exc.ctx
    assert param is not None
    if ctx is not None and param.name is not None:
        source = ctx.get_parameter_source(param.name)
        if source is click.core.ParameterSource.ENVIRONMENT and param.envvar:
            names = [param.envvar] if isinstance(param.envvar, str) else param.envvar
            return next((name for name in names if os.environ.get(name)), param.name)
    return param.opts[0] if isinstance(param, click.Option) else param.human_readable_name


def _number(found: re.Match[str]) -> str:
    return "is no number" if found[1] == "float" else "is no whole number"


def _traceback(exc: BaseException) -> str:
    import traceback  # 2 ms, which a command that goes well need not pay

    return "".join(traceback.format_exception(exc)).rstrip()


def _defect(exc: BaseException) -> CommandError:
    import tempfile  # 4 ms, for the day on which it is needed

    kind = f"{type(exc).__name__}: {exc}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="taskctl-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"{' '.join(map(mask_text, sys.argv))}\n\n{mask_text(_traceback(exc))}\n")
    except OSError:
        hints = [_traceback(exc)]
    else:
        hints = [f"the traceback is in {file.name}; please report it"]
    return CommandError(f"a defect of taskctl: {kind}", *hints, exit_code=DEFECT, code="defect")
