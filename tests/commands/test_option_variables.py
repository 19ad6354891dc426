"""Each option of each command has a variable; who wins where several places speak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.core import ParameterSource

from taskctl.context import Context
from taskctl.global_options import GlobalOption
from taskctl.manual.library import find
from taskctl.manual.roff import render
from taskctl.multi.grammar import parse, variables

from ..support.shell import Shell
from ..support.tree import commands, options

OPTIONS = [
    (path, option)
    for path, command in commands()
    for option in options(command)
    if not isinstance(option, GlobalOption)
]
#: What an option takes, where any word will not do.
_SAMPLES = {"--autoscale": "4,2", "--signal": "TERM", "--eta": "2031-01-01T00:00:00"}


def names(option: click.Option) -> list[str]:
    assert isinstance(option.envvar, list)
    return option.envvar


def sample(option: click.Option) -> str:
    """Return a word that the option takes."""
    ctx = click.Context(click.Command("x"), obj=Context())
    choices = getattr(option.type, "choices", None) or ()
    for word in (*map(str, choices), _SAMPLES.get(option.opts[-1]), "7", "a/b:1", "{}", "[]"):
        if word is not None:
            try:
                option.type_cast_value(ctx, [word] if option.multiple else word)
            except click.BadParameter:
                continue
            return word
    raise AssertionError(f"no sample for {option.opts}")


def consumed(option: click.Option, typed: str | None = None) -> tuple[Any, ParameterSource]:
    """Return the value of an option and where it comes from."""
    ctx = click.Context(click.Command("x"), obj=Context())
    value: Any = [typed] if option.multiple else typed
    given = {} if typed is None else {str(option.name): value}
    value, source = option.consume_value(ctx, given)
    return (tuple(value) if isinstance(value, list) else value), source


@pytest.mark.parametrize(
    ("path", "option"), OPTIONS, ids=[f"{' '.join(p)} {o.opts[-1]}" for p, o in OPTIONS]
)
def test_every_option_is_read_from_its_variables(
    path: tuple[str, ...], option: click.Option, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = next((word for word in option.opts if word.startswith("--")), option.opts[0])
    tail = "_".join([*path, long.lstrip("-")]).upper().replace("-", "_")
    mine, theirs = f"TASKCTL_{tail}", f"CELERY_{tail}"

    assert {mine, theirs} <= set(names(option))
    assert consumed(option)[1] not in (ParameterSource.ENVIRONMENT, ParameterSource.COMMANDLINE)
    if option.is_flag:
        monkeypatch.setenv(theirs, "1")
        assert consumed(option)[1] is ParameterSource.ENVIRONMENT
        return
    word = sample(option)
    typed, source = consumed(option, word)
    assert source is ParameterSource.COMMANDLINE
    monkeypatch.setenv(theirs, word)
    assert consumed(option) == (typed, ParameterSource.ENVIRONMENT)
    monkeypatch.setenv(theirs, "wrong")
    monkeypatch.setenv(mine, word)
    assert consumed(option) == (typed, ParameterSource.ENVIRONMENT)
    assert consumed(option, "typed")[1] is ParameterSource.COMMANDLINE


def test_no_variable_means_two_options() -> None:
    ours = [name for _, option in OPTIONS for name in names(option)] + list(variables())

    assert sorted(ours) == sorted(set(ours))


@pytest.mark.parametrize("command", sorted({path[0] for path, _ in OPTIONS}))
def test_every_variable_stands_on_the_manual_page_of_its_command(command: str) -> None:
    page = find(command)
    assert page is not None
    text = render(page).replace("\\-", "-").replace("\\&", "").split()
    words = {word.strip(".,") for word in text}

    assert {names(option)[0] for path, option in OPTIONS if path[0] == command} <= words


def test_options_of_multi_have_variables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, option in variables().items():
        command = sorted(option.commands)[0]
        value = "7" if option.takes_value else "1"
        for variable in (name.replace("TASKCTL", "CELERY", 1), name):
            with monkeypatch.context() as patch:
                patch.setenv(variable, "TERM" if option.name == "--signal" else value)
                assert option.name in parse([command, "w1"]).own


# -- who wins


@pytest.fixture
def place(tmp_path: Path) -> Shell:
    """A project that says nothing of broker and results."""
    return Shell(tmp_path)


def test_results_the_command_line_then_ours_then_celerys_then_app_then_file(place: Shell) -> None:
    (place.folder / "taskctl.toml").write_text('result_backend = "sqlite:///toml.db"\n')
    app = place.folder / "proj" / "celery.py"
    theirs = {"CELERY_RESULT_BACKEND": "sqlite:///celery.db"}
    ours = {**theirs, "TASKCTL_RESULT_BACKEND": "sqlite:///ours.db"}
    ask = ("config", "get", "result_backend")
    found = [place.proj(*ask).out]

    app.write_text(app.read_text() + "app.conf.result_backend = 'sqlite:///app.db'\n")
    found += [place.proj(*ask).out, place.proj(*ask, **theirs).out, place.proj(*ask, **ours).out]
    found.append(place.proj("--result-backend", "sqlite:///cli.db", *ask, **ours).out)

    assert found == [f"sqlite:///{who}.db\n" for who in ("toml", "app", "celery", "ours", "cli")]


def test_the_app_the_command_line_then_ours_then_celerys_then_the_file(place: Shell) -> None:
    for name in ("toml", "theirs", "ours", "cli"):
        (place.folder / f"{name}.py").write_text(
            f"from taskctl import App\napp = App({name!r}, broker='memory://')\n"
        )
    (place.folder / "taskctl.toml").write_text('app = "toml"\n')
    celery = {"CELERY_APP": "theirs"}
    both = {**celery, "TASKCTL_APP": "ours"}
    ask = ("shell", "-c", "print(app.main)")

    assert place.run(*ask).out == "toml\n"
    assert place.run(*ask, **celery).out == "theirs\n"
    assert place.run(*ask, **both).out == "ours\n"
    assert place.run("-A", "cli", *ask, **both).out == "cli\n"
    assert place.run(*ask, "-A", "cli", **both).out == "cli\n"


def test_a_timeout_the_command_line_then_ours_then_celerys(place: Shell) -> None:
    ask = ("-b", "memory://", "inspect", "ping")
    theirs = {"CELERY_INSPECT_TIMEOUT": "0.2"}
    ours = {**theirs, "TASKCTL_INSPECT_TIMEOUT": "0.3"}
    said = [
        place.run(*ask, **theirs), place.run(*ask, **ours), place.run(*ask, "-t", "0.4", **ours)
    ]  # fmt: skip

    assert [one.code for one in said] == [69, 69, 69]
    waited = [one.err.split(" answered in ")[1].split(" s")[0] for one in said]
    assert waited == ["0.2", "0.3", "0.4"]


@pytest.mark.parametrize(
    ("words", "env", "coloured"),
    [
        ((), {}, True),
        ((), {"NO_COLOR": "1"}, False),
        ((), {"NO_COLOR": ""}, True),
        ((), {"TERM": "dumb"}, True),
        ((), {"TASKCTL_COLOR": "never"}, False),
        (("--color", "always"), {"TASKCTL_COLOR": "never"}, True),
        (("-C",), {"TASKCTL_COLOR": "always"}, False),
        (("-C", "--color", "always"), {"NO_COLOR": "1"}, True),
    ],
)
def test_colour_the_command_line_then_variables_then_the_file(
    place: Shell, words: tuple[str, ...], env: dict[str, str], coloured: bool
) -> None:
    (place.folder / "taskctl.toml").write_text('color = "always"\n')
    said = place.proj("config", "explain", "timezone", "-o", "table", *words, **env)

    assert said.code == 0, said.err
    assert ("\x1b[" in said.out) is coloured
