"""The thread that answers HTTP: quick, whatever clients do, and absent from every child."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.errors import ImproperlyConfigured, ListenError
from taskctl.core.worker.listener import Address, Listener, Response, parse_address

from ..support.waiting import eventually

PAGES = {"/livez": lambda: Response(200, "ok\n"), "/broken": lambda: 1 / 0}


@contextlib.contextmanager
def listening(address: Address | None = None) -> Iterator[Listener]:
    listener = Listener(address or Address("127.0.0.1", 0), PAGES)  # type: ignore[arg-type]
    listener.open()
    try:
        yield listener
    finally:
        listener.close()


def said(listener: Listener, request: bytes) -> bytes:
    """Return all that is answered to these bytes."""
    with connected(listener) as line:
        line.sendall(request)
        parts = []
        while part := line.recv(65536):
            parts.append(part)
        return b"".join(parts)


def connected(listener: Listener) -> socket.socket:
    address = listener.address
    if address.path:
        line = socket.socket(socket.AF_UNIX)
        line.connect(address.path)
    else:
        line = socket.create_connection((address.host, address.port))
    line.settimeout(10)
    return line


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":8080", Address("127.0.0.1", 8080)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
        ("web3.example:9100", Address("web3.example", 9100)),
        ("[::1]:9100", Address("::1", 9100)),
        ("unix:/run/w1.sock", Address(path="/run/w1.sock")),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "8080", "host", "host:", "h:x", "h:65536", "h:-1", "::1:80", "unix:rel", "h:٣"]
)
def test_what_is_no_address_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="expected"):
        parse_address(text)


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    with contextlib.suppress(ImproperlyConfigured):
        assert str(parse_address(str(parse_address(text)))) == str(parse_address(text))


def test_pages_are_answered_with_their_status() -> None:
    with listening() as listener:
        client = http.client.HTTPConnection(listener.address.host, listener.address.port)
        found = {}
        for method, path in [
            ("GET", "/livez"), ("GET", "/livez?verbose"), ("HEAD", "/livez"), ("POST", "/livez"),
            ("GET", "/nothing"), ("GET", "/broken"),
        ]:  # fmt: skip
            client.request(method, path)
            answer = client.getresponse()
            found[method, path] = answer.status, answer.read().decode()

    assert found == {
        ("GET", "/livez"): (200, "ok\n"),
        ("GET", "/livez?verbose"): (200, "ok\n"),
        ("HEAD", "/livez"): (200, ""),
        ("POST", "/livez"): (405, "GET or HEAD expected\n"),
        ("GET", "/nothing"): (404, "there are: /livez /broken\n"),
        ("GET", "/broken"): (500, "ZeroDivisionError: division by zero\n"),
    }


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /livez\r\n\r\n", b"400"),
        (b"\xff\xfe \x00 HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /" + b"x" * 9000, b"431"),
    ],
)
def test_bad_requests_get_an_answer(request_bytes: bytes, status: bytes) -> None:
    with listening() as listener:
        assert said(listener, request_bytes).startswith(b"HTTP/1.1 " + status)


@given(st.binary(max_size=200))
def test_no_bytes_stop_it_from_answering(noise: bytes) -> None:
    listener = SHARED
    with connected(listener) as line:
        line.sendall(noise)
        line.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            line.recv(100)

    assert said(listener, b"GET /livez HTTP/1.0\r\n\r\n").endswith(b"ok\n")


@pytest.fixture(scope="module", autouse=True)
def shared() -> Iterator[None]:
    """A listener for the test of many examples."""
    global SHARED
    with listening() as SHARED:
        yield


def test_clients_that_say_nothing_keep_nobody_waiting() -> None:
    with listening() as listener, contextlib.ExitStack() as silent:
        for _ in range(80):  # more than are kept at once
            silent.enter_context(connected(listener))

        assert said(listener, b"GET /livez HTTP/1.1\r\n\r\n").endswith(b"ok\n")


def test_a_taken_address_is_an_error_that_names_it() -> None:
    with listening() as listener, pytest.raises(ListenError) as raised:
        Listener(listener.address, {}).open()

    assert str(raised.value) == f"cannot listen on {listener.address}: address already in use"


def test_an_address_that_is_not_of_this_host_is_an_error_that_names_it() -> None:
    with pytest.raises(ListenError, match=r"cannot listen on no-such-host\.invalid:80: "):
        Listener(Address("no-such-host.invalid", 80), {}).open()


def test_a_socket_file_is_made_and_removed_and_a_stale_one_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "w1.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)

    with listening(Address(path=path)) as listener:
        assert said(listener, b"GET /livez HTTP/1.1\r\n\r\n").endswith(b"ok\n")
        with pytest.raises(ListenError, match="address already in use"):
            Listener(Address(path=path), {}).open()

    assert not os.path.exists(path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "w1.sock"
    path.write_text("mine")

    with pytest.raises(ListenError, match="address already in use"):
        Listener(Address(path=str(path)), {}).open()

    assert path.read_text() == "mine"


def test_a_child_has_none_of_its_sockets() -> None:
    with listening() as listener, connected(listener) as line:
        eventually(lambda: len(listener._connections) == 1)
        ours = {listener._socket.fileno(), *listener._connections}
        child = os.fork()
        if child == 0:
            os._exit(sum(_is_open(fd) for fd in ours))

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        line.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        assert line.recv(1000).startswith(b"HTTP/1.1 200 OK")


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
