"""Becoming another user for good, and what users, groups and umasks are called.

Order in a program: open what only root may open, then `become`, then make files of one's own.
"""

from __future__ import annotations

import grp
import os
import pwd

from .errors import ImproperlyConfigured


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


def parse_umask(text: str) -> int:
    """Return a umask; octal if it begins with 0, else decimal, as Celery reads it.

    Raises ImproperlyConfigured for what is neither, or above 0777.
    """
    try:
        mask = int(text, 8 if text.startswith("0") else 10)
    except ValueError:
        mask = -1
    if not 0 <= mask <= 0o777:
        raise ImproperlyConfigured(f"--umask {text}: a mask like 022 expected")
    return mask


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
