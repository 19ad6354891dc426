"""Becoming another user for good, and what users, groups and umasks are called.

Order in a program: open what only root may open, then `become`, then make files of one's own.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable

from .errors import ImproperlyConfigured, SecurityError

#: What content that may be code is called: a serializer's name, and its type in messages.
_PICKLE = frozenset({"pickle", "application/x-python-serialize"})


def user_id(user: str) -> int:
    """Return the id of a user given by name or number.

    Raises ImproperlyConfigured if there is none of that name.
    """
    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ImproperlyConfigured(f"--uid {user}: no such user on this host") from None


def group_id(group: str) -> int:
    """Return the id of a group given by name or number.

    Raises ImproperlyConfigured if there is none of that name.
    """
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ImproperlyConfigured(f"--gid {group}: no such group on this host") from None


def parse_umask(text: str | int) -> int:
    """Return a umask; text is octal if it begins with 0, else decimal, as Celery reads it.

    Raises ImproperlyConfigured for what is neither, or above 0777.
    """
    try:
        mask = text if isinstance(text, int) else int(text, 8 if text.startswith("0") else 10)
    except ValueError:
        mask = -1
    if not 0 <= mask <= 0o777:
        raise ImproperlyConfigured(f"--umask {text}: a mask like 022 expected")
    return mask


def refuse_pickle_as_root(accept_content: Iterable[str]) -> None:
    """Refuse to let whoever can write to the broker become root here.

    Raises SecurityError, unless C_FORCE_ROOT is set in the environment.
    """
    root = 0 in (os.getuid(), os.geteuid())
    if root and _PICKLE.intersection(accept_content) and not os.environ.get("C_FORCE_ROOT"):
        raise SecurityError(
            "running as root with pickle in accept_content: whoever can send a message could do "
            "anything here; use --uid, or set C_FORCE_ROOT=1"
        )


def owner(user: str | None, group: str | None) -> tuple[int, int] | None:
    """Return user and group id for new files, None if neither is given.

    A user alone brings its own group.

    Raises ImproperlyConfigured.
    """
    if user is None and group is None:
        return None
    uid = os.geteuid() if user is None else user_id(user)
    return uid, _group_of(uid) if group is None else group_id(group)


def become(user: str | None, group: str | None) -> None:
    """Run as this user and group from now on; there is no way back.

    Nothing happens if the process is them already. Raises ImproperlyConfigured for an unknown
    name, PermissionError if this process may not.
    """
    wanted = owner(user, group)
    if wanted is None or wanted == (os.getuid(), os.getgid()):
        return
    uid, gid = wanted
    # The groups go first: afterwards the right to change them is gone.
    if os.geteuid() == 0:
        os.setgroups(_groups_of(uid, gid))
    os.setgid(gid)
    os.setuid(uid)
    if uid != 0 and _can_return():
        raise PermissionError(f"could not give up the rights of root for user {uid}")


def _can_return() -> bool:
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True


def _group_of(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:  # a number without an entry, as in containers
        return os.getegid()


def _groups_of(uid: int, gid: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]
