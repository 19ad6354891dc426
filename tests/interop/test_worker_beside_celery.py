"""Every option of `celery worker` is one of `taskctl worker`, with the same arity."""

from __future__ import annotations

import click
import pytest
from celery.bin.celery import celery
from celery.bin.worker import worker as celery_worker

from taskctl.commands.worker import command
from taskctl.global_options import global_parameters

#: Options of the group and of the command, in Celery.
THEIRS = [
    (param, spelling)
    for param in (*celery.params, *celery_worker.params)
    if isinstance(param, click.Option)
    for spelling in (*param.opts, *param.secondary_opts)
]


@pytest.mark.parametrize(("param", "spelling"), THEIRS, ids=[one for _, one in THEIRS])
def test_an_option_of_celerys_is_ours_too(param: click.Option, spelling: str) -> None:
    ours = {
        word: option
        for option in (*command.params, *global_parameters())
        if isinstance(option, click.Option)
        for word in option.opts
    }
    if spelling in ("--help", "--version"):
        return

    assert spelling in ours
    assert (ours[spelling].is_flag, ours[spelling].nargs) == (param.is_flag, param.nargs)


def test_a_variable_of_celerys_for_an_option_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    # The name a value gets decides the name of its variable: CELERY_WORKER_SCHEDULE_FILENAME.
    names = {param.name for param in celery_worker.params if isinstance(param, click.Option)}

    missing = names - {param.name for param in command.params}

    assert missing == set()
