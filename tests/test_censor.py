"""A censored settings text: no secret shows, and nothing else has moved."""

from __future__ import annotations

import ast
import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.censor import censor, kind_of

SECRET = "hunter2"


@pytest.mark.parametrize(
    "line",
    [
        "broker_url = 'redis://ops:hunter2@h/0'  # c",
        "broker_password = 'hunter2'",
        "BROKER = f'redis://:hunter2@{HOST}'",
        "x = 'redis://:%s@h' % 'hunter2'",
        "x = 'redis://:{}@h'.format('hunter2')",
        "x = 'redis://:{pw}@h'.format(pw='hunter2')",
        "app.conf.update(redis_password='hunter2', a=1)",
        "app = App(broker='redis://:hunter2@h')",
        "user, password = 'me', 'hunter2'",
        "os.environ['DB_PASSWORD'] = 'hunter2'",
        "os.environ.setdefault('DB_PASSWORD', 'hunter2')",
        "p = os.environ.get('DB_PASSWORD', 'hunter2')",
        "p = config('DB_PASSWORD', default='hunter2')",
        "def f(n, token='hunter2', *, secret='hunter2'): pass",
        "argv = ['--password', 'hunter2']",
        "pairs = [('api_key', 'hunter2')]",
        "d = {'a': {'secret': b'hunter2', 'key_prefix': 'k'}}",
        "credentials = {'user': 'hunter2'}",
        "if given_password == 'hunter2': pass",
        "# old: redis://:hunter2@h",
        '"""\nredis://:hunter2@h\n"""',
        "ü = 'é'; password = 'hunter2'",
        "class Conf: password: str = 'hunter2'",
    ],
)
def test_python_keeps_all_but_the_secret(line: str) -> None:
    text = f"a = 1\n\n{line}\n"

    copy = censor(text, "python")

    assert copy.text == text.replace("hunter2", "********")
    assert copy.lines
    ast.parse(copy.text)


def test_a_number_under_a_secret_name_is_masked_too() -> None:
    assert censor("api_key = 12345\nport = 5\n", "python").text == (
        'api_key = "********"\nport = 5\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        "password = os.environ['DB_PASSWORD']",
        "url = f'redis://:{PASSWORD}@h'",
        "url = 'redis://:' + PASSWORD + '@h'",
        "url = 'redis://:${PASSWORD}@h'",
        "broker_url = 'redis://localhost/0'",
        "task_default_routing_key = 'shop.default'",
        "secret: str | None = None",
        "from x import password, token",
    ],
)
def test_a_reference_to_a_secret_is_none(text: str) -> None:
    assert censor(text, "python") == (text, [])


def test_a_password_in_pieces_is_hidden_and_no_line_is_lost() -> None:
    text = 'url = ("redis://:hun"\n       "ter2@h/0")\nb = 2\n'

    copy = censor(text, "python").text

    assert (
        ast.literal_eval(copy.split("=", 1)[1].split("\nb")[0].strip()) == "redis://:********@h/0"
    )
    assert copy.count("\n") == text.count("\n")


def test_toml_keeps_all_but_the_secret() -> None:
    text = (
        '# token = "hunter2"\n[tool.taskctl]\nbroker_url = "redis://:hunter2@h"  # c\n'
        "redis_password = 'hunter2'\n\n[tool.taskctl.secrets]\na = \"hunter2\"\nn = 5\n"
        '[x]\nport = 5\nlist = ["--token", "hunter2"]\ninline = { password = "hunter2", b = 1 }\n'
    )

    copy = censor(text, "toml")

    assert copy.text == text.replace("hunter2", "********").replace("n = 5", 'n = "********"')
    assert copy.lines == [1, 3, 4, 7, 8, 11, 12]
    assert tomllib.loads(copy.text)["x"]["port"] == 5


def test_an_env_file_keeps_all_but_the_secret() -> None:
    text = (
        "# DB_PASSWORD=hunter2\r\nexport CELERY_BROKER_URL=redis://:hunter2@h  # tail\r\n"
        "DB_PASSWORD='hunter2'\r\nAPI_KEY=hunter2\r\nNAME = plain text\r\nTOKEN=${OTHER}\r\n"
    )

    assert censor(text, "env").text == text.replace("hunter2", "********")


def test_python_that_does_not_parse_is_masked_as_text() -> None:
    copy = censor("print 'x'\npassword = 'hunter2'\n", "python")

    assert SECRET not in copy.text
    assert copy.lines == [2]


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a/conf.py", "", "python"),
        (".env", "", "env"),
        ("deploy/.env.prod", "", "env"),
        ("prod.env", "", "env"),
        ("pyproject.toml", "", "toml"),
        ("", '{"a": 1}', "json"),
        ("", "A=b\nexport C='d'\n", "env"),
        ("", "[x]\na = 'b'\n", "toml"),
        ("", "import os\na = os.x\n", "python"),
        ("", "a: b\n- c d\n", "text"),
    ],
)
def test_the_kind_is_told_by_name_else_by_text(name: str, text: str, kind: str) -> None:
    assert kind_of(name, text) == kind


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)
keys = texts | st.sampled_from(["password", "api_key", "routing_key", "db.secret", "url"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | texts
    | texts.map(lambda text: f"redis://u:pw{SECRET}@h/{len(text)}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)


@given(values, st.sampled_from([None, 2]))
def test_json_stays_json_and_holds_no_secret(value: Any, indent: int | None) -> None:
    text = json.dumps({"a": value, "token": SECRET}, indent=indent)

    copy = censor(text, "json").text

    assert SECRET not in copy
    assert list(json.loads(copy)) == ["a", "token"]
    assert censor(copy, "json") == (copy, [])
    assert copy.count("\n") == text.count("\n")


names = st.sampled_from(["password", "api_key", "broker_url", "x"])


@given(names, texts, st.booleans())
def test_python_stays_python_and_holds_no_secret(name: str, text: str, in_call: bool) -> None:
    value = repr(f"redis://u:{SECRET}@h/{text}")
    source = f"f({name}={value})\n" if in_call else f"{name} = {value}  # {text!r}\n"

    copy = censor(source, "python").text

    assert SECRET not in copy
    ast.parse(copy)
