"""What the global options said, and how a command talks.

One Context lives for one call of the program; click hands it to commands as `ctx.obj`
(`@click.pass_obj`). The app they lead to is found by taskctl.apps, which costs more to import.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskctl.core.errors import ImproperlyConfigured

from .console import FORMATS, Console, choose_format, wants_colour
from .failures import CommandError, usage

if TYPE_CHECKING:
    from .selection import Selection


_COLOURS = ("auto", "always", "never")


class Context:
    """The global options of one call; the last word of the command line wins.

    `global_args` are the words in front of the command, for commands that hand them on.
    """

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.global_args: Sequence[str] = ()
        self._verbose = 0
        #: Where the program was called, if `enter` went elsewhere.
        self.came_from: str | None = None
        self._entered = False
        self._project: dict[str, Any] | None = None
        #: Finds the options that the user's app adds to commands; set by the program.
        self.app_options: Any = None
        #: The app that called this program, if one did.
        self.held_app: Any = None

    def put(self, name: str, value: Any) -> None:
        """Take in an option of the command line."""
        if name == "verbose":
            self._verbose += value
        elif name == "no_color":
            self.options["color"] = "never"
        else:
            self.options[name] = value
            if name == "output":  # -o and -j are two words for one thing
                self.options["json"] = False

    def get(self, name: str, *variables: str) -> str | None:
        """Return an option: command line, TASKCTL_ and CELERY_ variables, project file."""
        if (given := self.options.get(name)) is not None:
            return str(given)
        for variable in variables:
            if value := os.environ.get(variable):
                return value
        found = self.project().get(name)
        return None if found is None else str(found)

    def project(self) -> dict[str, Any]:
        """Return what `[tool.taskctl]` or taskctl.toml says."""
        if self._project is None:
            from taskctl.core.loader import read_project_file  # 4 ms, which --help need not pay

            self._project = read_project_file()
        return self._project

    # -- talk

    @property
    def quiet(self) -> bool:
        """Whether notes, banner and summaries are unwanted."""
        return _is_true(self._said("quiet"))

    @property
    def verbose(self) -> int:
        """How much to tell: 1 tracebacks of user code, 2 debug lines."""
        said = self._said("verbose") or ""
        return self._verbose or (int(said) if said.isdigit() else int(_is_true(said)))

    def _said(self, name: str) -> str | None:
        """Return a switch as text; one that cannot be read now, in an error, was not said."""
        try:
            return self.get(name, f"TASKCTL_{name.upper()}", f"CELERY_{name.upper()}")
        except ImproperlyConfigured:
            return None

    def note(self, text: str) -> None:
        """Say something on the side, unless quiet."""
        if not self.quiet:
            print(f"note: {text}", file=sys.stderr)

    @property
    def color(self) -> str | None:
        """When to colour, if anybody said so: auto, always or never.

        The project file is asked only if no variable tells, NO_COLOR and FORCE_COLOR among them.
        """
        when = self.options.get("color") or os.environ.get("TASKCTL_COLOR")
        if not when and not any(map(os.environ.get, ("NO_COLOR", "FORCE_COLOR"))):
            when = self.project().get("color")
        when = str(when or "").lower()
        if when not in ("", *_COLOURS):
            raise usage(f"color {when!r}: choose {', '.join(_COLOURS)}",
                        "set by TASKCTL_COLOR, or in the project file")  # fmt: skip
        return when or None

    def console(
        self,
        *,
        piped: str = "plain",
        formats: Sequence[str] = FORMATS,
        celery_json: bool = False,
        selection: Selection | None = None,
    ) -> Console:
        """Return the console of a command.

        `piped` is its format where stdout is no terminal, `formats` those it can draw;
        `celery_json`: it knows Celery's JSON, so `-j` asks for that rather than the native one.
        `selection` are the rows and columns that were asked for (`selection.take_selection`).
        """
        json = bool(self.options.get("json"))
        asked = "json" if json else self.options.get("output")
        if asked is None:
            # Said once for all commands: one that cannot do it does what it does without.
            wish = self.get("output", "TASKCTL_OUTPUT")
            asked = wish if wish in formats or wish not in FORMATS else None
        return Console(
            choose_format(asked, piped, formats),
            celery_json=json and celery_json,
            colour=wants_colour(self.color, sys.stdout),
            quiet=self.quiet,
            selection=selection,
        )

    @property
    def asks(self) -> bool:
        """Whether `confirm` would ask, or refuse for want of a terminal."""
        policy = "never" if self.options.get("yes") else _confirm_policy()
        return policy == "always" or (policy == "auto" and _on_terminal())

    def confirm(self, question: str, *, required: bool = False, force: bool = False) -> None:
        """Ask on a terminal before something is destroyed; return if the answer is yes.

        Without a terminal go on, unless an answer is `required`. Raises CommandError for a no.
        """
        policy = "never" if force or self.options.get("yes") else _confirm_policy()
        if policy == "never":
            return
        if not _on_terminal():
            if required or policy == "always":
                raise usage(
                    f"{question} needs an answer, and there is no terminal",
                    "answer in advance with -y",
                )
            return
        sys.stdout.flush()
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was done", code="declined")

    # -- places

    def enter(self) -> None:
        """Go to the working directory, once, before a command runs."""
        if self._entered:
            return
        self._entered = True
        self._export()
        folder = self.get("workdir", "TASKCTL_WORKDIR", "CELERY_WORKDIR")
        if not folder:
            return
        try:
            self.came_from = os.getcwd()
            os.chdir(os.path.expanduser(folder))
        except OSError as exc:
            raise usage(f"--workdir {folder}: {(exc.strerror or str(exc)).lower()}") from exc
        self._project = None

    def _export(self) -> None:
        """Put into the environment what an app, and code of its users, looks for there."""
        self._follow_celery()
        if loader := self.get("loader", "TASKCTL_LOADER", "CELERY_LOADER"):
            os.environ["TASKCTL_LOADER"] = loader
        skip = self.get("skip_checks", "TASKCTL_SKIP_CHECKS", "CELERY_SKIP_CHECKS")
        if skip is not None and _is_true(skip):
            os.environ["CELERY_SKIP_CHECKS"] = "true"

    def _follow_celery(self) -> None:
        """Let `import celery` find taskctl, here and in what is started from here, if asked to."""
        said = self._said("celery_compat")
        if said is not None and _is_true(said):
            from taskctl import compat  # whoever does not ask for it does not pay for it

            compat.install()

    @property
    def app_spec(self) -> str | None:
        """What names the app, if anything does."""
        return self.get("app", "TASKCTL_APP", "CELERY_APP")


def _on_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _confirm_policy() -> str:
    policy = os.environ.get("TASKCTL_CONFIRM", "auto").lower()
    if policy not in ("auto", "always", "never"):
        raise usage(f"TASKCTL_CONFIRM={policy}: choose auto, always or never")
    return policy


def _is_true(text: str | None) -> bool:
    return (text or "").strip().lower() not in ("", "0", "false", "no", "off")
