"""Is a node of this host alive, and does it take tasks? Asked of its health file.

Probes run every few seconds on every host, so an ordinary question is answered here, before click
and most of this program are loaded; `quick` leaves to them whatever is not ordinary.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from taskctl.core.errors import TaskctlError
from taskctl.core.health import SUFFIX, default_health_file, health_files, judge
from taskctl.core.places import run_folder, state_folder

from .failures import FAILED, OK, CommandError, usage

KINDS = ("live", "ready")
#: Keys of an item, in the order of a plain line.
KEYS = ("node", "live", "ready", "beat_age_seconds", "reasons")

Item = dict[str, Any]


def look(node: str | None, path: str | None, elsewhere: Mapping[str, str | None]) -> Item:
    """Return what the health file of a node says: an item with the `KEYS`.

    `node` is its full or short name, None for the only node there is; `path` its health file, if
    that was named. `elsewhere` are nodes that keep their file in another place, with the place;
    None stands for nowhere.

    Raises CommandError if it is not clear which node is meant, HealthFileError for a file that
    cannot be read.
    """
    if path is not None:
        return _judged(node, _expanded(path, node))
    files: dict[str, str | None] = {**health_files(), **elsewhere}
    name = _only(files) if node is None else _named(node, files)
    if name is None:
        return _item(None, False, False, (f"no health file in {run_folder()}",), None)
    place = files.get(name, default_health_file(name))
    if place is None:
        return _item(name, False, False, ("it was told to write no health file",), None)
    return _judged(name, place)


def _only(files: Mapping[str, str | None]) -> str | None:
    if len(files) > 1:
        raise usage(
            f"{len(files)} nodes are known on this host: {', '.join(sorted(files))}",
            f"name one: taskctl probe live -n {min(files)}",
        )
    return next(iter(files), None)


def _named(word: str, files: Mapping[str, str | None]) -> str:
    """Return the full name that a word stands for, as in -d of remote control."""
    if "%" in word:
        # Sockets and patterns, for a host name that few ask for.
        from taskctl.core.templates import node_name

        word = node_name(word)
    if "@" in word:
        return word
    found = sorted(name for name in files if name.partition("@")[0] == word)
    if len(found) == 1:
        return found[0]
    if found:
        raise usage(f"-n: {word!r} could be {', '.join(found)}: write one in full")
    known = f"there are: {', '.join(sorted(files))}" if files else "none has a health file"
    raise usage(f"-n: no node {word!r} on this host; {known}", "or write NAME@HOST in full")


def _expanded(path: str, node: str | None) -> str:
    """Return the file that a template of --health-file means for this node."""
    if "%" not in path:
        return os.path.abspath(os.path.expanduser(path))
    # As in `_named`: only who uses letters waits for them.
    from taskctl.core.templates import expand_path, node_name, worker_letters

    if node is None:
        raise usage(f"--health-file {path}: its letters want a node", "name it with -n NODE")
    name = node_name(node if "@" in node or "%" in node else f"{node}@%h")
    return os.path.abspath(expand_path(path, worker_letters(name), option="--health-file"))


def _judged(node: str | None, path: str) -> Item:
    verdict = judge(path)
    found = None if verdict.health is None else verdict.health.node
    if found is not None and node is not None and not _same(node, found):
        return _item(node, False, False, (f"{path} is the file of {found}",), None)
    name = found or node or _name_in(path)
    return _item(name, verdict.live, verdict.ready, verdict.reasons, verdict.age)


def _same(word: str, name: str) -> bool:
    return "%" in word or word in (name, name.partition("@")[0])


def _name_in(path: str) -> str | None:
    name = os.path.basename(path)
    return name.removesuffix(SUFFIX) if name.endswith(SUFFIX) and "@" in name else None


def _item(
    node: str | None, live: bool, ready: bool, reasons: Sequence[str], age: float | None
) -> Item:
    rounded = None if age is None else round(age, 3)
    values = node, live, ready, rounded, list(reasons)
    return dict(zip(KEYS, values, strict=True))


def exit_code(kind: str, item: Item) -> int:
    """Return 0 if the node is what was asked for (live or ready), else 1."""
    return OK if item[kind] else FAILED


# -- the short way

#: Options of the short way, with the name of what they set.
_OPTIONS = {"-n": "node", "--node": "node", "--health-file": "file", "-o": "output",
            "--output": "output"}  # fmt: skip
_FORMATS = ("plain", "json", "jsonl", "name")
#: What may say something about a probe, too; then the long way is gone.
_PROJECT_FILES = ("taskctl.toml", "pyproject.toml")
_VARIABLES = ("TASKCTL_OUTPUT", "TASKCTL_WORKDIR", "CELERY_WORKDIR", "_TASKCTL_COMPLETE")
_PREFIXES = ("TASKCTL_PROBE_", "CELERY_PROBE_")


def quick(words: Sequence[str]) -> int | None:
    """Answer an ordinary `probe`; return its exit code, None if the whole program must."""
    asked = _read(words)
    if asked is None or _steered() or (asked["output"] == "" and sys.stdout.isatty()):
        return None
    if _kept_elsewhere():
        return None
    try:
        item = look(asked["node"] or None, asked["file"] or None, {})
    except (CommandError, TaskctlError, OSError):
        return None  # the whole program meets it too, and has the words for it
    sys.stdout.write(_drawn(item, asked["kind"], asked["output"] or "plain"))
    sys.stdout.flush()
    return exit_code(asked["kind"], item)


def _read(words: Sequence[str]) -> dict[str, str] | None:
    """Return what an ordinary line asks for; None for any other."""
    asked = {"kind": "", "node": "", "file": "", "output": ""}
    if list(words[:1]) != ["probe"]:
        return None
    rest = iter(words[1:])
    for word in rest:
        if word in ("-q", "--quiet"):
            continue  # there is nothing to be quiet about
        if word in ("-j", "--json"):
            asked["output"] = "json"
        elif word in KINDS and not asked["kind"]:
            asked["kind"] = word
        elif word in _OPTIONS:
            asked[_OPTIONS[word]] = next(rest, "")
            if not asked[_OPTIONS[word]]:
                return None
        else:
            return None
    return asked if asked["kind"] and asked["output"] in ("", *_FORMATS) else None


def _steered() -> bool:
    """Return whether the environment or the project may have a say."""
    if any(name in _VARIABLES or name.startswith(_PREFIXES) for name in os.environ):
        return True
    folder, home = os.getcwd(), os.path.expanduser("~")
    while True:  # as loader.find_project_file goes
        if any(_mentions(os.path.join(folder, name)) for name in _PROJECT_FILES):
            return True
        above = os.path.dirname(folder)
        if folder in (home, above) or os.path.exists(os.path.join(folder, ".git")):
            return False
        folder = above


def _mentions(path: str) -> bool:
    """Return whether a project file may say how or where this program shall answer."""
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError:
        return False
    ours = path.endswith("taskctl.toml") or b"taskctl" in text
    return ours and (b"output" in text or b"workdir" in text)


def _kept_elsewhere() -> bool:
    """Return whether `multi` has started nodes that keep their health file in another place."""
    folder = os.path.join(state_folder(), "multi")
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".json")]
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                if b"--health-file" in file.read():
                    return True
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return False


def _drawn(item: Item, kind: str, format: str) -> str:
    """Return what Console writes in this format."""
    if format == "name":
        return f"{item['node']}\n" if item["node"] else ""
    if format == "jsonl":
        return json.dumps(item, ensure_ascii=False) + "\n"
    if format == "json":
        at = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))
        document = {
            "schema": "taskctl/probe/1",
            "at": f"{stamp}.{int(at * 1000) % 1000:03d}Z",
            "ok": exit_code(kind, item) == OK,
            "items": [item],
            "missing": [],
        }
        return json.dumps(document, ensure_ascii=False) + "\n"
    return "\t".join(KEYS) + "\n" + "\t".join(_raw(item[key]) for key in KEYS) + "\n"


def _raw(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = ",".join(value) if isinstance(value, list) else "" if value is None else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
