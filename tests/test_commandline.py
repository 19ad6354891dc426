"""What others see of our command line: no secret, and nothing else is moved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.commandline import masked, may_hold_secret

words = st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))))


def packed(*given: str) -> bytes:
    return b"".join(word.encode() + b"\0" for word in given)


@given(words)
def test_the_length_never_changes_and_the_last_byte_stays_nul(given: list[str]) -> None:
    before = packed("python", *given)

    after = masked(before)

    assert len(after) == len(before)
    assert after.endswith(b"\0")


@given(st.integers(1, 40))
def test_a_password_of_any_length_is_gone(length: int) -> None:
    secret = "x" * length

    after = masked(packed("taskctl", "-b", f"redis://:{secret}@h/0", f"redis_password={secret}"))

    parts = after.rstrip(b"\0").split(b"\0")
    assert parts[:2] == [b"taskctl", b"-b"]
    assert all(b"x" not in part for part in parts[2:])


def test_plain_words_stay_and_need_no_closer_look() -> None:
    plain = packed("taskctl", "-A", "proj", "worker", "-n", "w1@host")

    assert masked(plain) == plain
    assert not may_hold_secret(plain)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no /proc")
def test_the_kernel_shows_what_was_written_over_and_python_keeps_the_truth() -> None:
    code = (
        "import sys; from taskctl.core.commandline import hide_secrets;"
        "print(hide_secrets(), sys.argv[1], open('/proc/self/cmdline').read().split(chr(0))[3])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "redis://:hunter2@h"],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
    )  # fmt: skip

    # One letter more would not fit, so the mask is the shortest there is.
    assert done.stdout == "True redis://:hunter2@h redis://:*@h\n"
