"""Find modules, objects and the app by name; and the places that belong to an app.

Errors in the user's code are told with the user's file and line, never with ours; the traceback
is the cause of the AppNotFound.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import AppNotFound, ImproperlyConfigured

__all__ = (
    "AppNotFound", "default_database_path", "find_app", "find_project_file", "import_modules",
    "import_object", "is_missing", "looks_like_app", "read_project_file",
)  # fmt: skip

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
#: Folders whose code is not the user's.
_FOREIGN = ("site-packages", "dist-packages")
_STDLIB = os.path.dirname(os.__file__) + os.sep

IsApp = Callable[[Any], bool]


class MissingAttribute(AttributeError):
    """Raised when a module was imported, but lacks the attribute that was asked for."""


# -- objects by name


def import_object(spec: str) -> Any:
    """Return what `pkg.mod:attr`, `pkg.mod` or `pkg.mod.attr` names; the working directory counts.

    Raises what the import raises; MissingAttribute if only the attribute is not there.
    """
    with _in_path(os.getcwd()):
        module, colon, attribute = spec.partition(":")
        if colon:
            return _attribute(importlib.import_module(module), attribute)
        try:
            return importlib.import_module(spec)
        except ModuleNotFoundError as exc:
            parent, _, attribute = spec.rpartition(".")
            if not parent or not is_missing(exc, spec):
                raise
            if exc.name is not None and exc.name != spec:
                raise
        return _attribute(importlib.import_module(parent), attribute)


def is_missing(exc: BaseException, spec: str) -> bool:
    """Return whether an import failed because the thing named is not there itself.

    False if it is there and something inside it failed.
    """
    if isinstance(exc, MissingAttribute):
        return True
    name = spec.partition(":")[0]
    return isinstance(exc, ModuleNotFoundError) and bool(exc.name) and (
        name == exc.name or name.startswith(f"{exc.name}.")
    )  # fmt: skip


def import_modules(names: Iterable[str]) -> list[ModuleType]:
    """Import modules by name; AppNotFound tells which one failed, and where in it."""
    with _in_path(os.getcwd()):
        return [_import(name, "{}") for name in names]


def _attribute(holder: Any, path: str) -> Any:
    for part in path.split("."):
        try:
            holder = getattr(holder, part)
        except AttributeError as exc:
            name = getattr(holder, "__name__", type(holder).__name__)
            raise MissingAttribute(f"{name!r} has no attribute {part!r}", name=part) from exc
    return holder


@contextlib.contextmanager
def _in_path(folder: str) -> Iterator[None]:
    """Put a folder first on sys.path for a while, unless it is on it."""
    if folder in sys.path:
        yield
        return
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


# -- the app


def looks_like_app(thing: Any, is_app: IsApp) -> bool:
    """Return whether this is an app, or an instance of Celery's class."""
    return is_app(thing) or any(
        kind.__name__ == "Celery" and kind.__module__.partition(".")[0] == "celery"
        for kind in type(thing).__mro__
    )


def find_app(spec: str, *, workdir: str | None = None, is_app: IsApp) -> Any:
    """Return the app that `-A spec` names, in Celery's order; AppNotFound says what is wrong.

    The working directory stays first on sys.path.  Of a module: its `app`, its `celery`, those
    of its sub-module `celery`, then the first app in it; and at last, which Celery does not try,
    those of its sub-module `app`.
    """
    folder = os.path.abspath(workdir or os.getcwd())
    if folder not in sys.path[:1]:
        sys.path.insert(0, folder)
    _refuse_paths(spec)
    found = _resolve(spec)
    if isinstance(found, ModuleType) and ":" not in spec:
        found = _app_of_module(found, is_app)
    if not looks_like_app(found, is_app):
        raise _not_an_app(spec, found)
    return found


def _refuse_paths(spec: str) -> None:
    if spec.endswith(".py"):
        module = spec[:-3].replace(os.sep, ".").lstrip(".")
        raise AppNotFound(f"{spec!r} is a file, not a module", f"did you mean: -A {module}")
    if os.sep in spec:
        folder, _, module = spec.rpartition(os.sep)
        raise AppNotFound(
            f"{spec!r} is a path, not a module",
            f"did you mean: -A {module or folder} --workdir {folder if module else '.'}",
        )


def _resolve(spec: str) -> Any:
    """Return an attribute or a module: as attribute of the parent first, as Celery does."""
    module, colon, attribute = spec.partition(":")
    if not colon:
        module, _, attribute = spec.rpartition(".")
        if not module:
            return _import(spec)
    holder = _import(module, f"-A {{}}:{attribute}" if colon else f"-A {{}}.{attribute}")
    try:
        return _attribute(holder, attribute)
    except MissingAttribute as exc:
        if not colon and _exists(spec):
            return _import(spec)
        raise _no_attribute(spec, holder, attribute) from exc


def _app_of_module(module: ModuleType, is_app: IsApp) -> Any:
    for name in ("app", "celery"):
        found = getattr(module, name, None)
        if found is not None and not isinstance(found, ModuleType):
            return found
    below = f"{module.__name__}.celery"
    if hasattr(module, "__path__") and _exists(below):
        return _app_of_module(_import(below), is_app)
    for found in list(vars(module).values()):
        if looks_like_app(found, is_app):
            return found
    if hasattr(module, "__path__") and _exists(f"{module.__name__}.app"):
        return _app_of_module(_import(f"{module.__name__}.app"), is_app)
    looked = f"looked for {module.__name__}.app"
    if hasattr(module, "__path__"):
        looked += f", {below}.app"
    raise AppNotFound(
        f"no app in {module.__name__!r} ({_shown(module)}): {looked}",
        "name it with -A module:attribute" + _other_modules(module),
        getattr(module, "__file__", None),
    )


def _exists(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return name in sys.modules


# -- what went wrong


def _import(name: str, spelling: str = "-A {}") -> ModuleType:
    """Import a module, and tell every failure in the user's words.

    `spelling` is how the user would write the right name, were this one wrong.
    """
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as exc:
        if is_missing(exc, name):
            raise _no_module(name, getattr(exc, "name", None) or name, spelling) from exc
        raise _broken_module(name, exc) from exc


def _no_module(name: str, missing: str, spelling: str) -> AppNotFound:
    parent, _, leaf = missing.rpartition(".")
    if parent:
        folders = [os.fspath(p) for p in getattr(sys.modules.get(parent), "__path__", [])]
        message = f"no module {leaf!r} in package {parent!r} ({', '.join(map(_short, folders))})"
    else:
        folders = [sys.path[0] or os.getcwd()]
        message = f"no module {missing!r} in {folders[0]} or on sys.path"
    modules = sorted({module for folder in folders for module in _modules_in(folder)})
    near = difflib.get_close_matches(leaf, modules, 1)
    if near:
        right = f"{parent}.{near[0]}" if parent else near[0]
        right = spelling.format(right + name[len(missing) :])
        return AppNotFound(message, f"did you mean: {right}")
    if not parent and (elsewhere := _elsewhere(leaf, folders[0])):
        return AppNotFound(message, f"it is in {elsewhere}: go there, or add --workdir {elsewhere}")
    if modules:
        return AppNotFound(message, f"there are: {', '.join(modules[:8])}")
    return AppNotFound(message, "go to the folder that holds it, or name that with --workdir")


def _modules_in(folder: str) -> Iterator[str]:
    """Yield names of the modules and packages in a folder."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            stem, ending = os.path.splitext(entry.name)
            if not stem.isidentifier() or stem.startswith("__"):
                continue
            package = not ending and os.path.exists(os.path.join(entry.path, "__init__.py"))
            if ending == ".py" or package:
                yield stem


def _elsewhere(module: str, folder: str) -> str | None:
    """Return a folder near by that does hold a module: above, or one below."""
    here = Path(folder)
    try:
        below = sorted(p for p in here.iterdir() if p.is_dir() and p.name[0] not in "._")
    except OSError:
        below = []
    for candidate in (*list(here.parents)[:3], *below[:200]):
        if module in _modules_in(os.fspath(candidate)):
            return _short(os.fspath(candidate))
    return None


def _broken_module(name: str, exc: BaseException) -> AppNotFound:
    path, line = _place(exc)
    where = f"{_short(path)}:{line}: " if path else ""
    reason, hint = _reason(exc)
    return AppNotFound(f"cannot import {name!r}: {where}{reason}", hint, path, line)


#: How the note begins that an exception bears which a module of settings raised.
_READING = "while reading settings from "


def reading_note(name: str, where: str) -> str:
    """Return the note for an exception that a module of settings raised."""
    return f"{_READING}{name!r}, named at {where}"


def broken_settings(exc: BaseException) -> AppNotFound | None:
    """Return what to tell of an exception from a module of settings; None for any other."""
    for note in getattr(exc, "__notes__", ()):
        if note.startswith(_READING):
            return _broken_module(note.removeprefix(_READING).split("'")[1], exc)
    return None


def _reason(exc: BaseException) -> tuple[str, str]:
    """Return what went wrong inside a module, and the cure."""
    look = "see the traceback with -v"
    text = str(exc).strip()
    first = text.splitlines()[0] if text else ""
    if "partially initialized module" in text:
        head = text.partition(" (most likely")[0]
        return f"circular import: {head}", (
            "make the app in a module of its own that imports no tasks, and let these import it"
        )
    if isinstance(exc, ModuleNotFoundError) and exc.name:
        return f"no module named {exc.name!r}", f"install it for {sys.executable}, or {look}"
    if isinstance(exc, SystemExit):
        return f"it ends the program (exit {exc.code})", (
            "put what must not run at import under: if __name__ == '__main__'"
        )
    if isinstance(exc, SyntaxError):
        return f"{type(exc).__name__}: {exc.msg}", "mend the line"
    return f"{type(exc).__name__}: {first}" if first else type(exc).__name__, look


def _place(exc: BaseException) -> tuple[str | None, int | None]:
    """Return file and line in the user's code where an exception came from."""
    if isinstance(exc, SyntaxError) and exc.filename:
        return exc.filename, exc.lineno
    places: list[tuple[str, int]] = []
    step = exc.__traceback__
    while step is not None:
        path = step.tb_frame.f_code.co_filename
        if not path.startswith((_HERE, "<")):
            places.append((path, step.tb_lineno))
        step = step.tb_next
    users = [place for place in places if _is_users(place[0])]
    return (users or places)[-1] if places else (None, None)


def _is_users(path: str) -> bool:
    return not any(part in path for part in _FOREIGN) and not path.startswith(_STDLIB)


def _no_attribute(spec: str, holder: Any, attribute: str) -> AppNotFound:
    name = getattr(holder, "__name__", spec)
    message = f"module {name!r} ({_shown(holder)}) has no attribute {attribute!r}"
    names = [n for n, value in vars(holder).items()
             if not n.startswith("_") and not isinstance(value, ModuleType | type)]  # fmt: skip
    folders = [os.fspath(p) for p in getattr(holder, "__path__", [])]
    modules = [] if ":" in spec else [m for folder in folders for m in _modules_in(folder)]
    near = difflib.get_close_matches(attribute, [*names, *modules], 1)
    if not near and "app" in names:
        near = ["app"]
    sign = ":" if near and near[0] in names else "."
    hint = f"did you mean: -A {name}{sign}{near[0]}" if near else "name it with -A module:attribute"
    return AppNotFound(message, hint, getattr(holder, "__file__", None))


def _not_an_app(spec: str, found: Any) -> AppNotFound:
    kind = type(found).__name__
    if isinstance(found, ModuleType):
        return AppNotFound(f"{spec!r} is a module, not an app", f"try -A {found.__name__}")
    hint = "name the app itself with -A module:attribute"
    if callable(found) and not isinstance(found, type):
        hint = f"call it in your module, app = {spec.rpartition(':')[2]}(), and name that"
    return AppNotFound(f"{spec!r} is a {kind}, not an app", hint)


def _other_modules(module: ModuleType) -> str:
    names = sorted(m for p in getattr(module, "__path__", []) for m in _modules_in(os.fspath(p)))
    return f"; {module.__name__} holds: {', '.join(names[:8])}" if names else ""


def _shown(module: Any) -> str:
    path = getattr(module, "__file__", None)
    return _short(path) if path else "no file"


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


# -- places that belong to an app


def default_database_path(app_module_file: str | None) -> Path:
    """Return where the queue lives that needs no URL: `.taskctl/queue.db` beside the code.

    That is the folder that holds the top-level module (found by climbing out of packages), the
    working directory for an app without a file, `$XDG_STATE_HOME/taskctl/NAME/` for installed
    code or a folder that cannot be written.  A file that stands is taken, so that all meet there.
    """
    if not app_module_file:
        return Path.cwd() / ".taskctl" / "queue.db"
    path = Path(os.path.abspath(app_module_file))
    top, folder = path, path.parent
    while (folder / "__init__.py").exists() and folder.parent != folder:
        top, folder = folder, folder.parent
    beside = folder / ".taskctl" / "queue.db"
    if beside.exists():
        return beside
    installed = any(part in _FOREIGN for part in folder.parts)
    if folder.is_dir() and not installed and os.access(folder, os.W_OK):
        return beside
    state = os.environ.get("XDG_STATE_HOME") or ""
    home = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    return home / "taskctl" / top.stem / "queue.db"


def find_project_file(cwd: str | os.PathLike[str] | None = None) -> tuple[Path, dict[str, Any]]:
    """Return the file that holds our section, and the section; an empty one if there is none.

    `taskctl.toml`, then `[tool.taskctl]` in `pyproject.toml`; here, then in the folders above
    as far as the checkout goes.
    """
    here = Path(cwd or os.getcwd()).absolute()
    for folder in (here, *here.parents):
        own, shared = folder / "taskctl.toml", folder / "pyproject.toml"
        if own.is_file():
            return own, _read_toml(own)
        if shared.is_file() and "taskctl" in (tool := _read_toml(shared).get("tool", {})):
            return shared, tool["taskctl"]
        if (folder / ".git").exists() or folder == Path.home():
            break
    return here / "taskctl.toml", {}


def read_project_file(cwd: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Return what `[tool.taskctl]` says, or an empty dict."""
    return find_project_file(cwd)[1]


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib  # 4 ms, which a client that has no such file need not pay

    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ImproperlyConfigured(f"{_short(os.fspath(path))}: cannot read it: {exc}") from exc
