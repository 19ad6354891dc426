"""Users, groups and umasks by name and number; giving up root is for good."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.privileges import become, group_id, owner, parse_umask, user_id

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def test_users_and_groups_go_by_name_and_number() -> None:
    assert (user_id("root"), user_id("1234")) == (0, 1234)
    assert (group_id("root"), group_id("77")) == (0, 77)
    assert owner(None, None) is None
    assert owner("root", None) == (0, 0)


@pytest.mark.parametrize("lookup", [user_id, group_id])
def test_a_name_that_does_not_exist_is_refused(lookup: object) -> None:
    with pytest.raises(ImproperlyConfigured, match="nobody-of-that-name"):
        lookup("nobody-of-that-name")  # type: ignore[operator]


@pytest.mark.parametrize(("text", "mask"), [("022", 0o22), ("0", 0), ("18", 18), ("0777", 0o777)])
def test_a_umask_is_octal_if_it_begins_with_0(text: str, mask: int) -> None:
    assert parse_umask(text) == mask


@pytest.mark.parametrize("text", ["", "x", "-1", "08", "01000"])
def test_what_is_no_umask_is_refused(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="--umask"):
        parse_umask(text)


def test_becoming_who_one_is_changes_nothing() -> None:
    become(None, None)
    become(str(os.getuid()), str(os.getgid()))


@as_root
def test_root_becomes_another_user_with_its_groups_and_cannot_return() -> None:
    program = (
        "import os\n"
        "from taskctl.core.privileges import become\n"
        "become('nobody', None)\n"
        "print(os.getresuid(), os.getresgid(), 0 in os.getgroups())\n"
        "try:\n"
        "    os.setuid(0)\n"
        "except PermissionError:\n"
        "    print('for good')\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    nobody, group = user_id("nobody"), owner("nobody", None)
    assert group is not None
    assert done.stdout.splitlines() == [
        f"{(nobody,) * 3} {(group[1],) * 3} False",
        "for good",
    ], done.stderr
