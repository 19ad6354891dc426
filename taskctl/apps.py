"""The app that a command works for, found as the global options say."""

from __future__ import annotations

import os

from taskctl.core.app import App
from taskctl.core.config import Origin
from taskctl.core.errors import BrokerConnectionError
from taskctl.core.loader import find_app, import_object, is_missing
from taskctl.core.redact import mask_url
from taskctl.core.sqlitefile import path_of_url

from .context import Context
from .failures import UNAVAILABLE, CommandError, usage

#: Names that Celery reads in the environment, and every other program uses too.
_BARE = {"APP": "TASKCTL_APP", "BROKER_URL": "TASKCTL_BROKER_URL", "LOADER": "TASKCTL_LOADER"}
#: Modules of settings that an app without a module of its own takes, if they are there.
_CONFIG_MODULES = ("taskctlconfig", "celeryconfig")


def user_app(context: Context) -> App:
    """Return the user's app, imported; without a name for it the default app.

    Raises AppNotFound.
    """
    _export_config(context)
    spec = context.app_spec
    if context.held_app is not None and "app" not in context.options:
        app: App = context.held_app
        spec = None
    else:
        app = _default_app(context) if spec is None else _find(spec)
    _apply(context, app)
    if spec is not None:
        _hint_at_bare_url(context, app)
    return app


def client_app(context: Context) -> App:
    """Return an app to talk to workers with.

    The user's own is imported only if nothing else says where the broker is.
    """
    if context.held_app is not None or not _broker_is_known(context):
        return user_app(context)
    _export_config(context)
    app = _own_app("taskctl")
    _apply(context, app)
    return app


def unreachable(app: App, exc: BrokerConnectionError) -> CommandError:
    """Return the error of a broker that does not answer, and who named it."""
    where = app.conf.origin("broker_url").where
    hint = f"set by {where}; next: taskctl doctor" if where else "no broker is named: see -b"
    return CommandError(str(exc), hint, exit_code=UNAVAILABLE, code="broker")


def shown_url(url: str) -> str:
    """Return a URL as people may see it: without secrets, a file by its absolute path."""
    if url.startswith("sqlite://"):
        return f"sqlite:///{path_of_url(url).absolute()}"
    return mask_url(url)


def _find(spec: str) -> App:
    found = find_app(spec, is_app=lambda thing: isinstance(thing, App))
    if not isinstance(found, App):
        raise usage(
            f"{spec!r} is an app of Celery's own class, not of taskctl's",
            "say --celery-compat, or in its module: from taskctl import Celery",
        )
    return found


def _broker_is_known(context: Context) -> bool:
    given = context.get("broker", "TASKCTL_BROKER_URL", "CELERY_BROKER_URL")
    return bool(given or context.project().get("broker_url"))


def _default_app(context: Context) -> App:
    """Return the app of a folder without one: with its settings module, if it has one."""
    for bare, ours in _BARE.items():
        if bare in os.environ:
            context.note(f"{bare} in the environment is not read; did you mean {ours}?")
    app = _own_app("default")
    if not (os.environ.get("TASKCTL_CONFIG_MODULE") or os.environ.get("CELERY_CONFIG_MODULE")):
        _take_config_module(app)
    app.set_default()
    return app


def _hint_at_bare_url(context: Context, app: App) -> None:
    """Say that Celery would have taken the broker from BROKER_URL, if the app does not either."""
    bare = os.environ.get("BROKER_URL")
    if bare and bare not in app.broker_urls() and app.conf.origin("broker_url").kind != "cli":
        context.note("BROKER_URL in the environment is not read; did you mean TASKCTL_BROKER_URL?")


def _own_app(name: str) -> App:
    """Return an app of the program's own, which belongs to the folder it is called in."""
    app = App(name, set_as_current=False)
    app.settle_here()
    return app


def _take_config_module(app: App) -> None:
    for name in _CONFIG_MODULES:
        try:
            app.config_from_object(import_object(name))
            return
        except ImportError as exc:
            if not is_missing(exc, name):
                raise usage(f"cannot import {name!r}: {exc}", "see the traceback with -v") from exc


def _export_config(context: Context) -> None:
    """Name the settings module in the environment, where an app without one looks."""
    if module := context.options.get("config"):
        os.environ["TASKCTL_CONFIG_MODULE"] = str(module)


def _apply(context: Context, app: App) -> None:
    """Let the command line win over what the app says."""
    if module := context.options.get("config"):
        try:
            import_object(module)
        except (ImportError, AttributeError) as exc:
            raise usage(
                f"--config {module}: {exc}", "name a module, or an object in it: module:attribute"
            ) from exc
        app.config_from_object(module)
    if broker := context.options.get("broker"):
        urls = {key: broker for key in ("broker_url", "broker_read_url", "broker_write_url")}
        app.conf.override(urls, Origin("cli", "-b"))
    if backend := context.options.get("result_backend"):
        app.conf.override({"result_backend": backend}, Origin("cli", "--result-backend"))
