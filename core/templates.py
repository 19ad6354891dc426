"""Templates for file and node names: `%n.pid`, `w1@%h`.

Three tables of letters, because a name is expanded in three places: `multi_letters` when
`multi` builds a command line, `worker_letters` when a worker opens its files (so a path given to
`multi` is expanded twice), `hostname_letters` for `-n` before the node has a name.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping

from .errors import TemplateError

_LETTER = re.compile(r"%(.?)", re.DOTALL)


def expand(template: str, letters: Mapping[str, str], *, option: str) -> str:
    """Return the template with each %letter replaced, in one pass.

    Raises TemplateError for an unknown letter; it names the option and the letters that exist.
    """

    def replacement(match: re.Match[str]) -> str:
        try:
            return letters[match[1]]
        except KeyError:
            known = " ".join(f"%{letter}" for letter in letters)
            raise TemplateError(
                f"{option} {template}: no letter {match[0]!r} here: "
                f"choose from {known} (%% is a plain percent sign)"
            ) from None

    return _LETTER.sub(replacement, template)


def expand_path(template: str, letters: Mapping[str, str], *, option: str) -> str:
    """Return an expanded template with a leading `~` resolved to the home folder."""
    return os.path.expanduser(expand(template, letters, option=option))


def multi_letters(node: str) -> dict[str, str]:
    """Return the letters of `multi` for a node; `%i` and `%I` are left to the worker."""
    short, _, host = node.partition("@")
    return {
        "n": short,
        "N": short,
        "h": node,
        "d": host,
        "p": node,
        "i": "%i",
        "I": "%I",
        "%": "%",
    }


def worker_letters(node: str, index: int = 0) -> dict[str, str]:
    """Return the letters of a worker; `index` is 0 in the parent, 1... in its children."""
    short, _, host = node.partition("@")
    return {
        "n": short,
        "h": host,
        "d": host.partition(".")[2],
        "p": node,
        "i": str(index),
        "I": f"-{index}" if index else "",
        "%": "%",
    }


def hostname_letters(host: str | None = None) -> dict[str, str]:
    """Return the letters of `-n/--hostname`; `host` defaults to this machine's name."""
    host = host if host is not None else socket.gethostname()
    label, _, domain = host.partition(".")
    return {"n": label, "h": host, "d": domain, "i": "0", "I": "", "%": "%"}


def node_name(template: str, host: str | None = None) -> str:
    """Return the full name of a node from what `-n` was given.

    A value without `@` is the host's part, as in Celery: `-n w1` is `celery@w1`.

    Raises TemplateError.
    """
    name = expand(template, hostname_letters(host), option="-n")
    return name if "@" in name else f"celery@{name}"


def escape(text: str) -> str:
    """Return text that `expand` turns into `text`, whatever the letters."""
    return text.replace("%", "%%")
