"""Steering a test's RabbitMQ from inside: virtual hosts, users, alarms, queues as it sees them.

`rabbitmqctl` takes a second a word; this is one Erlang node that stays, and takes milliseconds.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

from .servers import RabbitServer, free_port

#: Reads an expression a line, and answers with its value in one line.
_LOOP = """F = fun F() -> case io:get_line("") of eof -> halt(0); L -> R = try
{ok, T, _} = erl_scan:string(L), {ok, E} = erl_parse:parse_exprs(T),
{value, V, _} = erl_eval:exprs(E, []), V catch C:X -> {C, X} end,
io:format("~0p~n", [R]), F() end end, F()."""


class RabbitControl:
    """An Erlang node beside the server's."""

    def __init__(self, server: RabbitServer) -> None:
        self.server = server
        self.node = f"test{server.port}@localhost"
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[str] | None = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            name = f"control{self.server.port}@localhost"
            argv = ["erl", "-noshell", "-hidden", "-sname", name, "-eval", _LOOP.replace("\n", " ")]
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **self.server.environment()},
            )
        return self._process

    def call(self, module: str, function: str, *arguments: str) -> str:
        """Call a function on the server with arguments written in Erlang; return what it gave."""
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        words = ", ".join(arguments)
        process.stdin.write(f"rpc:call('{self.node}', {module}, {function}, [{words}]).\n")
        process.stdin.flush()
        answer = process.stdout.readline().strip()
        assert not answer.startswith(("{badrpc", "{error,{")), f"{module}:{function}: {answer}"
        return answer

    def new_vhost(self) -> str:
        """Make an empty virtual host that guest may use; return the URL of it."""
        name = f"t{next(self._numbers)}"
        self.call("rabbit_vhost", "add", text(name), text("test"))
        everything = [text(".*")] * 3
        self.call(
            "rabbit_auth_backend_internal", "set_permissions",
            text("guest"), text(name), *everything, text("test"),
        )  # fmt: skip
        return f"amqp://guest:guest@127.0.0.1:{self.server.port}/{name}"

    def drop_vhost(self, url: str) -> None:
        """Remove a virtual host and everything in it."""
        self.call("rabbit_vhost", "delete", text(url.rpartition("/")[2]), text("test"))

    def set_memory_limit(self, share: str) -> None:
        """Set which share of the machine's memory it may use; below what it has it takes no more
        messages.  0.4 is what it starts with."""
        self.call("vm_memory_monitor", "set_vm_memory_high_watermark", share)

    def speak_tls(self, certificate: Path, key: Path, authority: Path) -> int:
        """Listen with TLS too; return the port."""
        port = free_port()
        self.call("application", "ensure_all_started", "ssl")
        names = {"cacertfile": authority, "certfile": certificate, "keyfile": key}
        words = ", ".join(f'{{{name}, "{path}"}}' for name, path in names.items())
        self.call("rabbit_networking", "start_ssl_listener", str(port), f"[{words}]", "2")
        return port

    def close_connections(self) -> None:
        """Break every connection, as an operator does."""
        self.call("rabbit_networking", "close_all_connections", '"test"')

    def stop(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(timeout=20)
            self._process = None


def text(value: str) -> str:
    """Return a binary as Erlang writes it."""
    return f'<<"{value}">>'
