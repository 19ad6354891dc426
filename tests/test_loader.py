"""Finding the app in Celery's order, and telling what is wrong with one that is not found."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.loader import (
    AppNotFound,
    default_database_path,
    find_app,
    find_project_file,
    import_modules,
    import_object,
    is_missing,
    read_project_file,
)

#: A stand-in for the class of apps, which the loader must not import.
APP = "class App:\n    def __init__(self, name): self.name = name\n"


def is_app(thing: Any) -> bool:
    return type(thing).__name__ == "App"


@pytest.fixture(autouse=True)
def shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty working directory; modules imported from it are forgotten afterwards."""
    folder = tmp_path / "shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    write("appclass.py", APP)
    before = set(sys.modules)
    yield folder
    ours = {path.stem for path in tmp_path.rglob("*")}
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ours:
            del sys.modules[name]


def write(name: str, text: str = "") -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    importlib.invalidate_caches()


def made(name: str, attribute: str = "app") -> str:
    return f"from appclass import App\n{attribute} = App({name!r})\n"


@pytest.mark.parametrize(
    ("files", "spec", "name"),
    [
        ({"m.py": made("a", "x")}, "m:x", "a"),
        ({"m.py": made("a", "x")}, "m.x", "a"),
        ({"m.py": made("a")}, "m", "a"),
        ({"m.py": made("a", "celery")}, "m", "a"),
        ({"m.py": made("b", "celery") + made("a")}, "m", "a"),
        ({"m.py": made("a", "first") + made("b", "second")}, "m", "a"),
        ({"p/__init__.py": "", "p/celery.py": made("a")}, "p", "a"),
        ({"p/__init__.py": made("b", "other"), "p/celery.py": made("a")}, "p", "a"),
        ({"p/__init__.py": made("a", "other")}, "p", "a"),
        ({"p/__init__.py": "", "p/app.py": made("a")}, "p.app", "a"),
        ({"p/__init__.py": "from . import app\n", "p/app.py": made("b"),
          "p/celery.py": made("a")}, "p", "a"),
        ({"p/__init__.py": "from .celery import app as celery_app\n",
          "p/celery.py": made("a")}, "p", "a"),
        ({"p/__init__.py": "", "p/q/__init__.py": "", "p/q/r.py": made("a", "mine")},
         "p.q.r:mine", "a"),
        ({"p/__init__.py": "", "p/q/r.py": made("a")}, "p.q.r", "a"),
        ({"m.py": made("a") + "class Holder: inner = app\n"}, "m:Holder.inner", "a"),
    ],
)  # fmt: skip
def test_the_app_is_found_in_celery_s_order(files: dict[str, str], spec: str, name: str) -> None:
    for file, text in files.items():
        write(file, text)

    assert find_app(spec, is_app=is_app).name == name


def test_the_working_directory_is_where_the_app_is_looked_for(shop: Path) -> None:
    write("elsewhere/m.py", APP + "app = App('a')\n")
    write("elsewhere/late.py", "value = 1\n")

    assert find_app("m", workdir="elsewhere", is_app=is_app).name == "a"
    assert sys.path[0] == str(shop / "elsewhere")
    assert importlib.import_module("late").value == 1


def test_an_instance_of_celery_s_class_is_an_app() -> None:
    write("m.py", "class Celery: pass\nCelery.__module__ = 'celery.app.base'\nmine = Celery()\n")

    assert type(find_app("m", is_app=is_app)).__name__ == "Celery"


def refusal(spec: str, **options: Any) -> AppNotFound:
    with pytest.raises(AppNotFound) as info:
        find_app(spec, is_app=is_app, **options)
    assert "\n" not in info.value.message + info.value.hint
    return info.value


# -- five broken apps


def test_no_module_names_the_nearest(shop: Path) -> None:
    write("proj/__init__.py")

    error = refusal("prj")

    assert error.message == f"no module 'prj' in {shop} or on sys.path"
    assert error.hint == "did you mean: -A proj"


def test_no_module_in_a_package_names_the_nearest() -> None:
    write("proj/__init__.py")
    write("proj/workers.py")

    error = refusal("proj.worker:app")

    assert error.message == "no module 'worker' in package 'proj' (proj)"
    assert error.hint == "did you mean: -A proj.workers:app"


def test_an_import_error_inside_names_the_user_s_line() -> None:
    write("proj/__init__.py", "from . import tasks\n")
    write("proj/tasks.py", "\n" * 11 + "import no_such_pillow\n")

    error = refusal("proj")

    assert error.message == (
        "cannot import 'proj': proj/tasks.py:12: no module named 'no_such_pillow'"
    )
    assert error.hint == f"install it for {sys.executable}, or see the traceback with -v"
    assert (error.path, error.line) == (os.path.abspath("proj/tasks.py"), 12)
    assert isinstance(error.__cause__, ModuleNotFoundError)


def test_a_missing_attribute_names_the_nearest() -> None:
    write("proj.py", made("a", "application"))

    error = refusal("proj:aplication")

    assert error.message == "module 'proj' (proj.py) has no attribute 'aplication'"
    assert error.hint == "did you mean: -A proj:application"


def test_a_missing_attribute_may_be_a_module_below() -> None:
    write("proj/__init__.py")
    write("proj/main.py", made("a"))

    assert refusal("proj.mainn").hint == "did you mean: -A proj.main"


def test_a_circular_import_is_called_so() -> None:
    write("proj/__init__.py", "from .tasks import add\nfrom appclass import App\napp = App('a')\n")
    write("proj/tasks.py", "from proj import app\nadd = 1\n")

    error = refusal("proj")

    assert error.message == (
        "cannot import 'proj': proj/tasks.py:1: circular import: "
        "cannot import name 'app' from partially initialized module 'proj'"
    )
    assert "a module of its own" in error.hint


def test_a_wrong_working_directory_names_the_right_one(shop: Path) -> None:
    write("src/proj/__init__.py", made("a"))

    assert refusal("proj").hint == "it is in src: go there, or add --workdir src"

    os.chdir(shop / "src" / "proj")
    assert refusal("proj").hint.startswith(f"it is in {shop / 'src'}: go there")


# -- and some more


def test_a_package_without_an_app_tells_where_it_was_looked_for() -> None:
    write("proj/__init__.py")
    write("proj/celery.py")
    write("proj/main.py")

    error = refusal("proj")

    assert error.message.startswith("no app in 'proj.celery' (proj/celery.py): looked for")
    assert refusal("proj.main").hint == "name it with -A module:attribute"


def test_a_broken_sub_module_celery_is_not_passed_over() -> None:
    write("proj/__init__.py", made("a", "other"))
    write("proj/celery.py", "\nimport no_such_module\n")

    assert "proj/celery.py:2: no module named 'no_such_module'" in refusal("proj").message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nx +\n", "proj.py:2: SyntaxError: invalid syntax"),
        ("\nraise ValueError('bad\\nthing')\n", "proj.py:2: ValueError: bad"),
        ("\nimport json\njson.loads('x')\n", "proj.py:3: JSONDecodeError: Expecting value"),
        ("\nraise SystemExit(3)\n", "proj.py:2: it ends the program (exit 3)"),
        ("raise KeyError\n", "proj.py:1: KeyError"),
    ],
)
def test_any_failure_inside_names_the_user_s_line(text: str, said: str) -> None:
    write("proj.py", text)

    assert refusal("proj").message.startswith(f"cannot import 'proj': {said}")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("m.py", "did you mean: -A m"),
        ("src/m", "did you mean: -A m --workdir src"),
        ("m:make", "call it in your module, app = make(), and name that"),
        ("m:number", "name the app itself with -A module:attribute"),
    ],
)
def test_what_is_no_app_is_told_so(spec: str, hint: str) -> None:
    write("m.py", "number = 1\ndef make(): pass\n")

    assert refusal(spec).hint == hint


# -- objects and modules


def test_objects_are_imported_by_colon_by_dots_or_as_modules() -> None:
    write("p/__init__.py")
    write("p/m.py", "class K:\n    a = 1\n")

    assert import_object("p.m:K.a") == import_object("p.m").K.a == 1
    assert import_object("p.m.K").__name__ == "K"


@pytest.mark.parametrize("spec", ["no_such", "p.no_such", "p.m:no_such", "p.m.no_such"])
def test_what_is_missing_is_told_from_what_is_broken(spec: str) -> None:
    write("p/__init__.py")
    write("p/m.py")
    write("broken.py", "import no_such")

    with pytest.raises((ImportError, AttributeError)) as info:
        import_object(spec)
    with pytest.raises(ImportError) as inner:
        import_object("broken")

    assert is_missing(info.value, spec)
    assert not is_missing(inner.value, "broken")


def test_modules_are_imported_from_the_working_directory_or_their_fault_is_told(
    shop: Path,
) -> None:
    write("tasks_a.py", "value = 1\n")
    write("tasks_b.py", "\n1 / 0\n")
    path = list(sys.path)

    with pytest.raises(AppNotFound) as info:
        import_modules(["task_a"])
    assert info.value.hint == "did you mean: tasks_a"
    assert [module.value for module in import_modules(["tasks_a"])] == [1]
    with pytest.raises(AppNotFound, match=r"'tasks_b': tasks_b.py:2: ZeroDivisionError"):
        import_modules(["tasks_a", "tasks_b"])
    assert sys.path == path


# -- places


def test_the_queue_lies_beside_the_top_level_module(shop: Path) -> None:
    write("p/__init__.py")
    write("p/q/__init__.py")
    write("p/q/app.py")
    beside = shop / ".taskctl" / "queue.db"

    for file in ("p/q/app.py", "p/__init__.py", "appclass.py", None):
        assert default_database_path(file) == beside
    os.chdir(shop / "p")
    assert default_database_path(str(shop / "p/q/app.py")) == beside


def test_the_queue_of_installed_code_lies_in_the_state_folder(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("site-packages/proj/__init__.py")
    write("site-packages/single.py")
    monkeypatch.setenv("XDG_STATE_HOME", str(shop / "state"))

    path = default_database_path("site-packages/proj/__init__.py")

    assert path == shop / "state/taskctl/proj/queue.db"
    single = default_database_path("site-packages/single.py")
    assert single == shop / "state/taskctl/single/queue.db"


def test_the_queue_of_a_folder_that_cannot_be_written_lies_in_the_state_folder(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("p/__init__.py")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(shop / "home"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    state = shop / "home/.local/state/taskctl/p/queue.db"

    assert default_database_path("p/__init__.py") == state

    write(".taskctl/queue.db")
    assert default_database_path("p/__init__.py") == shop / ".taskctl/queue.db"


def test_the_project_file_is_found_in_a_folder_above(shop: Path) -> None:
    write("pyproject.toml", "[tool.taskctl]\napp = 'proj'\n[tool.taskctl.worker]\npool = 'solo'\n")
    write("below/pyproject.toml", "[tool.other]\n")
    write("below/deep/x.py")

    values = {"app": "proj", "worker": {"pool": "solo"}}
    assert find_project_file("below/deep") == (shop / "pyproject.toml", values)
    assert read_project_file("below") == values


def test_taskctl_toml_comes_first_and_a_checkout_is_the_end(shop: Path) -> None:
    write("pyproject.toml", "[tool.taskctl]\napp = 'proj'\n")
    write("taskctl.toml", "app = 'own'\n")
    write("checkout/.git/HEAD")
    write("checkout/x/y.py")

    assert read_project_file() == {"app": "own"}
    assert read_project_file("checkout/x") == {}


def test_a_broken_project_file_is_named_with_its_line() -> None:
    write("taskctl.toml", "app = 'own'\nbroken\n")

    with pytest.raises(ImproperlyConfigured, match=r"^taskctl.toml: cannot read it: .*line 2"):
        read_project_file()


def test_a_package_may_hold_its_app_in_a_module_called_app() -> None:
    write("proj/__init__.py")
    write("proj/app.py", made("inner"))

    assert find_app("proj", is_app=is_app).name == "inner"
