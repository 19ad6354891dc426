"""Templates: three tables of letters, one pass, and errors that name what exists."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.errors import TemplateError
from taskctl.core.templates import (
    escape,
    expand,
    expand_path,
    hostname_letters,
    multi_letters,
    node_name,
    worker_letters,
)

NODE = "w1@a.ex.com"


@pytest.mark.parametrize(
    ("template", "in_multi", "in_worker"),
    [
        ("%n", "w1", "w1"),
        ("%h", "w1@a.ex.com", "a.ex.com"),
        ("%d", "a.ex.com", "ex.com"),
        ("%p", "w1@a.ex.com", "w1@a.ex.com"),
        ("%i", "%i", "0"),
        ("%I", "%I", ""),
        ("%%", "%", "%"),
    ],
)
def test_each_place_has_its_own_letters(template: str, in_multi: str, in_worker: str) -> None:
    assert expand(template, multi_letters(NODE), option="--logfile") == in_multi
    assert expand(template, worker_letters(NODE), option="--logfile") == in_worker


def test_a_child_has_its_number_in_its_files() -> None:
    assert expand("%n%I.%i", worker_letters(NODE, 3), option="--logfile") == "w1-3.3"


def test_a_name_is_made_of_the_hosts_parts() -> None:
    letters = hostname_letters("web3.ex.com")

    assert expand("w1@%h %n %d %i%I %%", letters, option="-n") == "w1@web3.ex.com web3 ex.com 0 %"


def test_a_name_without_host_is_the_host_part_as_in_celery() -> None:
    assert node_name("w1", "web3") == "celery@w1"
    assert node_name("w1@%h", "web3") == "w1@web3"


def test_capital_n_is_for_multi_alone() -> None:
    assert expand("%N", multi_letters(NODE), option="--pidfile") == "w1"
    for letters in (worker_letters(NODE), hostname_letters("web3")):
        with pytest.raises(TemplateError):
            expand("%N", letters, option="--pidfile")


def test_an_unknown_letter_names_the_option_and_the_letters_that_exist() -> None:
    with pytest.raises(TemplateError) as caught:
        expand("/run/%x.pid", worker_letters(NODE), option="--pidfile")

    assert str(caught.value) == (
        "--pidfile /run/%x.pid: no letter '%x' here: "
        "choose from %n %h %d %p %i %I %% (%% is a plain percent sign)"
    )


def test_a_percent_sign_at_the_end_is_an_error_too() -> None:
    with pytest.raises(TemplateError):
        expand("100%", multi_letters(NODE), option="--pidfile")


def test_the_home_folder_is_resolved_at_the_start_of_a_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/ops")

    assert expand_path("~/%n.pid", worker_letters(NODE), option="--pidfile") == (
        os.path.join("/home/ops", "w1.pid")
    )


@given(st.text())
def test_an_escaped_text_comes_out_as_it_was(text: str) -> None:
    for letters in (multi_letters(NODE), worker_letters(NODE), hostname_letters("web3")):
        assert expand(escape(text), letters, option="-n") == text


@given(st.lists(st.sampled_from(["%n", "%h", "%d", "%p", "%i", "%I", "%%", "x", "é", " "])))
def test_each_letter_is_replaced_once_and_in_its_place(parts: list[str]) -> None:
    node = "%n@%h"  # a name that looks like letters itself must not be expanded again
    letters = multi_letters(node)

    result = expand("".join(parts), letters, option="--pidfile")

    assert result == "".join(letters[part[1]] if part[0] == "%" else part for part in parts)


@given(st.text(alphabet="%nNhdpiIxyz.-/ "))
def test_any_template_expands_or_says_why_not(template: str) -> None:
    try:
        expand(template, worker_letters(NODE), option="--pidfile")
    except TemplateError as exc:
        assert str(exc).startswith("--pidfile ")
