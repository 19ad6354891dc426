"""Secrets never show, and what is no secret stays readable."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.redact import MASK, is_secret_key, mask, mask_text, mask_url

CANARY = "Xq7Canary9Zv"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ops:pw@10.0.0.5:6379/0", "redis://ops:********@10.0.0.5:6379/0"),
        ("redis://:pw@h", "redis://:********@h"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis://:pw@[::1]:6379/0", "redis://:********@[::1]:6379/0"),
        ("sqlite:////srv/shop/.taskctl/queue.db", "sqlite:////srv/shop/.taskctl/queue.db"),
        ("memory://", "memory://"),
        ("amqp://guest@localhost//", "amqp://guest@localhost//"),
        ("redis://:a@h1;redis://:b@h2/1", "redis://:********@h1;redis://:********@h2/1"),
        ("sentinel://:a@h1:26379;h2:26379/0", "sentinel://:********@h1:26379;h2:26379/0"),
        ("sentinel://h1:26379;h2:26379/0", "sentinel://h1:26379;h2:26379/0"),
        ("mongodb://u:p@h1,h2/db?authSource=a", "mongodb://u:********@h1,h2/db?authSource=a"),
        ("mongodb://u:p@h/?appName=@x@", "mongodb://u:********@h/?appName=@x@"),
        ("redis://h/0?password=pw&db=1", "redis://h/0?password=********&db=1"),
        ("redis://:p/w@h/0", "redis://:********@h/0"),
        ("redis://:p@w@h/0", "redis://:********@h/0"),
        ("redis://u:12/34@h/0", "redis://u:********@h/0"),
        ("redis://:cut", "redis://:********"),
        ("redis://:a://@h", "redis://:********@h"),
        ("redis://:;a://@h;redis://:b@i", "redis://:********@h;redis://:********@i"),
        ("db+postgresql://u:p%40w@h/db", "db+postgresql://u:********@h/db"),
        (
            "https://x/?next=redis%3A%2F%2F%3Apw%40h",
            "https://x/?next=redis%3A%2F%2F%3A********%40h",
        ),
        (
            "azureblockblob://AccountName=shop;AccountKey=abc==;EndpointSuffix=core.net",
            "azureblockblob://AccountName=shop;AccountKey=********;EndpointSuffix=core.net",
        ),
        ("proj.celery", "proj.celery"),
    ],
)
def test_a_url_shows_everything_but_its_secrets(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert mask(url) == shown
    assert mask_url(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("broker redis://h:6379: connection refused", "broker redis://h:6379: connection refused"),
        ("(redis://:pw@h), then redis://:b@i.", "(redis://:********@h), then redis://:********@i."),
        ("redis://:pa ss@h/0: refused", "redis://:********@h/0: refused"),
        ("redis://:pa'ss@h/0: refused", "redis://:********@h/0: refused"),
        ("see http://host:80/x, ask bob@host", "see http://host:80/x, ask bob@host"),
        ("connect(password='a b', db=1)", "connect(password='********', db=1)"),
        ("connect(password=ab, db=1)", "connect(password=********, db=1)"),
        ('{"api_key": "abc", "n": 1}', '{"api_key": "********", "n": 1}'),
        ("DB_PASS=hunter2 make", "DB_PASS=******** make"),
        ("broker_password: 'x'\ntimezone: 'UTC'", "broker_password: '********'\ntimezone: 'UTC'"),
        ("Authorization: Bearer abcdefgh1234", "Authorization: ********"),
        ("sent Bearer abcdefgh1234 along", "sent Bearer ******** along"),
        ("routing_key=a.b key_prefix=c", "routing_key=a.b key_prefix=c"),
        ("worker_log_format: '[%(asctime)s]'", "worker_log_format: '[%(asctime)s]'"),
    ],
)
def test_a_text_shows_everything_but_its_secrets(text: str, shown: str) -> None:
    assert mask_text(text) == shown
    assert mask_text(shown) == shown


@pytest.mark.parametrize(
    "key",
    "password redis_password DB_PASS passwd secret SECRET_KEY token authToken accessToken api_key"
    " API_KEY apiKey s3_secret_access_key private_key privateKey credentials sentry_dsn"
    " security_key_password X-Api-Key".split(),
)
def test_a_key_word_marks_a_secret(key: str) -> None:
    assert is_secret_key(key)
    assert mask({key: "hunter2"}) == {key: MASK}


@pytest.mark.parametrize(
    "key",
    "routing_key task_default_routing_key api_version key_prefix global_keyprefix keyboard"
    " monkey_patch passthrough_args compass tokenizer secretary partition_key security_key"
    " broker_url database_url accept_content".split(),
)
def test_what_only_looks_like_a_key_word_stays_readable(key: str) -> None:
    assert not is_secret_key(key)
    assert mask({key: "plain"}) == {key: "plain"}


def test_unset_and_empty_secrets_are_shown_as_such() -> None:
    assert mask({"password": None, "token": "", "use_secret": True}) == {
        "password": None,
        "token": "",
        "use_secret": True,
    }


def test_a_number_under_a_secret_key_is_masked() -> None:
    assert mask({"password": 1234}) == {"password": MASK}


def test_an_option_masks_the_word_after_it() -> None:
    assert mask(["--password", "x", "-b", "redis://:pw@h", "--app", "proj"]) == [
        "--password",
        MASK,
        "-b",
        "redis://:********@h",
        "--app",
        "proj",
    ]


def test_containers_keep_their_type_and_the_original_is_left_alone() -> None:
    class Pair(NamedTuple):
        user: str
        password: str

    original = {"a": [("redis://:pw@h",)], "b": Pair("u", "p"), "c": b"redis://:pw@h"}

    shown = mask(original)

    assert shown == {
        "a": [("redis://:********@h",)],
        "b": Pair("u", MASK),
        "c": b"redis://:********@h",
    }
    assert original["a"] == [("redis://:pw@h",)]


def test_an_object_that_would_show_a_secret_becomes_its_masked_repr() -> None:
    class Connection:
        def __repr__(self) -> str:
            return "<Connection redis://:pw@h>"

    harmless = object()

    assert mask([Connection(), harmless]) == ["<Connection redis://:********@h>", harmless]


def test_a_private_key_in_a_text_is_masked() -> None:
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}\n-----END RSA PRIVATE KEY-----"

    assert CANARY not in mask_text(pem)


around = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="\"'<>`"), max_size=6
)
schemes = st.sampled_from(["redis", "rediss", "amqp", "db+postgresql", "mongodb+srv", "sqs"])
hosts = st.sampled_from(["h", "10.0.0.5:6379", "a.example.com", "[::1]:6379", "h1:1,h2:2"])
passwords = st.builds(lambda a, b: a + CANARY + b, around, around)


@given(schemes, st.sampled_from(["", "ops"]), passwords, hosts, st.booleans())
def test_no_password_of_a_url_is_ever_shown(
    scheme: str, user: str, password: str, host: str, encoded: bool
) -> None:
    url = f"{scheme}://{user}:{quote(password, safe='') if encoded else password}@{host}/0"

    for shown in (mask_url(url), mask(url), mask_text(f"lost {url}: gone, then {url}; bye")):
        assert CANARY not in shown
        assert "gone" in shown or "lost" not in shown


def nested(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaf | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["url", "backend", "x"]), inner, max_size=3)
            | st.tuples(inner, inner)
        ),
    )


leaves = st.sampled_from(
    [
        f"redis://:{CANARY}@h",
        f"tried redis://:{CANARY}@h; redis://u:{CANARY}@i",
        f"https://x/?token={CANARY}",
        {"password": CANARY},
        {"connection": {"api_key": [CANARY]}},
        ["--secret", CANARY],
        f"redis%3A%2F%2Fu%3A{CANARY}%40h",
        f"redis://:{CANARY}@h".encode(),
    ]
)


@given(nested(leaves))
def test_no_secret_is_shown_however_deeply_it_is_nested(value: Any) -> None:
    assert CANARY not in repr(mask(value))


@given(st.text(max_size=60))
def test_masking_twice_is_masking_once(text: str) -> None:
    assert mask_text(mask_text(text)) == mask_text(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ops:hunter2@10.0.0.5:6379", "ops:********@10.0.0.5:6379"),
        ("redis:/:hunter2@h/0", "redis:/:********@h/0"),
        ("cannot reach :hunter2@h", "cannot reach :********@h"),
        ("db?user=u&password=hunter2", "db?user=u&password=********"),
        ("sqlite:///x?cipher_key=hunter2", "sqlite:///x?cipher_key=********"),
    ],
)
def test_a_url_without_its_scheme_is_masked_too(text: str, shown: str) -> None:
    assert mask(text) == mask_text(text) == mask_url(text) == shown


@pytest.mark.parametrize(
    "text",
    ["w1@host: OK", "-c:w1@host 3", "--max-tasks-per-child:w1@h=10", "joe@example.com",
     '{"hostname":"w1@host"}', "{'a': 'w1@h'}", "at 12:30 w1@h left", "user@10.0.0.5:22"],
)  # fmt: skip
def test_names_of_nodes_and_addresses_are_no_logins(text: str) -> None:
    assert mask_text(text) == text
