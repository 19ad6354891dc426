"""The connection to RabbitMQ: one socket, read and written without waiting, frames in and out.

Methods come from `pika.spec`; pika's own connections are left aside, since they either wait or
want to own the loop, and pass every message through layers of Python.  Nothing here knows what a
task is.

`pump` never waits.  `call` and `wait` do, up to their deadline.
"""

from __future__ import annotations

import contextlib
import os
import select
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from pika import spec  # type: ignore[import-untyped, unused-ignore]
from pika.exceptions import AMQPError  # type: ignore[import-untyped, unused-ignore]

from ..errors import BrokerConnectionError, BrokerError
from . import amqp_codec as codec
from .amqp_codec import Content, Delivered
from .amqp_greeting import about_us, connected, credentials, lost
from .amqp_options import Address, Options
from .amqp_words import Refusal, refusal

#: Most bytes read in one go, and in one `pump`.
_CHUNK, _MOST = 1 << 18, 1 << 22
_FRAME = struct.Struct(">BHI")
_CODE = struct.Struct(">I")
#: Longest that a goodbye may take (seconds).
_GOODBYE = 0.5

Handler = Callable[[Delivered, Content], None]


class Channel:
    """One channel: answers wait in `replies`, what comes unasked goes to the handlers."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.open = False
        #: Why the server closed it.
        self.closed: Refusal | None = None
        self.replies: deque[tuple[Any, Content | None]] = deque()
        self.on_deliver: Handler = _nobody
        self.on_return: Handler = _nobody
        #: Called with (tag, multiple, taken) for each confirm.
        self.on_confirm: Callable[[int, bool, bool], None] = lambda tag, multiple, taken: None
        #: Called with the tag of a consumer that the server cancelled.
        self.on_cancel: Callable[[str], None] = lambda tag: None
        self.content: tuple[Any, int, bytes, list[bytes]] | None = None


def _nobody(delivered: Delivered, content: Content) -> None:
    """Nobody waits for it."""


class Line:
    """One AMQP connection, open once it is made.

    Raises BrokerConnectionError if the server cannot be reached or breaks off, BrokerError if it
    refuses us.
    """

    def __init__(
        self, address: Address, options: Options, timeout: float, *, beat: bool, role: str
    ) -> None:
        self.address = address
        self.pid = os.getpid()
        self.alive = False
        #: What the server says of why it takes no messages now; None while it does.
        self.blocked: str | None = None
        self.server: dict[str, Any] = {}
        self.frame_max = 131072
        self.heartbeat = 0.0
        self.unsent = bytearray()
        #: Whether the end has begun: what cannot be sent any more is no news.
        self._over = False
        self._in = bytearray()
        self._channels: dict[int, Channel] = {0: Channel(0)}
        self._last_in = self._last_out = time.monotonic()
        self._limit = options.socket_timeout
        deadline = time.monotonic() + min(timeout, options.connect_timeout or timeout)
        self._socket = connected(address, options, deadline)
        self.alive = True
        try:
            self._shake_hands(deadline, options, beat, role)
        except BaseException:
            self.drop()
            raise

    # --- coming and going -------------------------------------------------------------------

    def _shake_hands(self, deadline: float, options: Options, beat: bool, role: str) -> None:
        channel = self._channels[0]
        self.send(b"AMQP\x00\x00\x09\x01")
        start = self._next_reply(channel, deadline)
        self.server = dict(start.server_properties or {})
        method, answer = credentials(self.address, options, start.mechanisms)
        self.say(channel, spec.Connection.StartOk(about_us(options, role), method, answer, "en_US"))
        tune = self._next_reply(channel, deadline)
        self.frame_max = min(tune.frame_max or 131072, 131072)
        wanted = self.address.heartbeat
        if wanted is None:
            wanted = options.heartbeat or 0.0
        if beat and wanted:
            asked = int(tune.heartbeat or 0)
            self.heartbeat = float(min(asked, wanted) if asked else wanted)
        self.say(
            channel,
            spec.Connection.TuneOk(tune.channel_max, self.frame_max, max(0, int(self.heartbeat))),
            spec.Connection.Open(self.address.vhost),
        )
        self._next_reply(channel, deadline)

    def close(self) -> None:
        """Take leave of the server and let go of the socket; a forked child only lets go."""
        if self.alive and self.pid == os.getpid():
            with contextlib.suppress(BrokerError):
                deadline = time.monotonic() + _GOODBYE
                self.say(self._channels[0], spec.Connection.Close(200, "goodbye", 0, 0))
                self._next_reply(self._channels[0], deadline)
        self.drop()

    def drop(self) -> None:
        """Let go of the socket at once."""
        self.alive = False
        self._socket.close()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    # --- channels -----------------------------------------------------------------------------

    def channel(self) -> Channel:
        """Return a new open channel."""
        number = next(n for n in range(1, 2048) if n not in self._channels)
        channel = self._channels[number] = Channel(number)
        channel.open = True
        self.call(channel, spec.Channel.Open())
        return channel

    def leave(self, channel: Channel) -> None:
        """Close a channel."""
        if channel.open and self.alive:
            self.call(channel, spec.Channel.Close(200, "", 0, 0))
        channel.open = False
        self._channels.pop(channel.number, None)

    # --- words ----------------------------------------------------------------------------------

    def say(self, channel: Channel, *methods: Any) -> None:
        """Send methods that have no answer, or whose answer is fetched with `answers`."""
        self.send(b"".join(_framed(channel.number, method) for method in methods))

    def call(self, channel: Channel, *methods: Any) -> list[Any]:
        """Send methods in one go and return their answers.

        Raises ChannelRefused if the server closes the channel over one of them.
        """
        self.say(channel, *methods)
        return [reply for reply, _ in self.answers(channel, len(methods))]

    def answers(self, channel: Channel, count: int) -> list[tuple[Any, Content | None]]:
        """Return the next `count` answers on a channel, each with its message if it has one."""
        replies = channel.replies
        self.wait(lambda: len(replies) >= count or not channel.open, self._limit)
        if channel.closed is not None:
            self._channels.pop(channel.number, None)
            raise ChannelRefused(self.address.shown, channel.closed)
        return [replies.popleft() for _ in range(count)]

    def _next_reply(self, channel: Channel, deadline: float) -> Any:
        self.wait(lambda: bool(channel.replies), max(0.01, deadline - time.monotonic()))
        return channel.replies.popleft()[0]

    def wait(self, come: Callable[[], bool], seconds: float) -> None:
        """Read and write until `come()`; when the time is over the line is dropped."""
        deadline = time.monotonic() + seconds
        self.pump()
        while not come():
            left = deadline - time.monotonic()
            if left <= 0:
                blocked = self.blocked
                self.drop()
                raise NoAnswer(
                    f"broker {self.address.shown} takes no messages now: {blocked}"
                    if blocked is not None
                    else f"broker {self.address.shown} did not answer within {seconds:.1f} s"
                )
            self._sleep(left)
            self.pump()

    def wait_a_little(self, come: Callable[[], bool], seconds: float) -> None:
        """Read and write until `come()`, at most `seconds`; the line stands either way."""
        deadline = time.monotonic() + seconds
        self.pump()
        while not come() and (left := deadline - time.monotonic()) > 0:
            self._sleep(left)
            self.pump()

    def _sleep(self, seconds: float) -> None:
        """Sleep until the socket can be read, or written if there is something to write."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return
        poller = select.poll()
        poller.register(self._socket, select.POLLIN | (select.POLLOUT if self.unsent else 0))
        poller.poll(max(1.0, min(seconds, 1.0) * 1000))

    # --- bytes ----------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes, as many as the socket takes now; `pump` sends the rest."""
        if not self.alive:
            raise BrokerConnectionError(f"the line to {self.address.shown} is closed: open it")
        if self.unsent:
            self.unsent += data
            self._flush()
            return
        sent = self._send_some(data)
        if sent < len(data):
            self.unsent += memoryview(data)[sent:]

    def _send_some(self, data: bytes | bytearray) -> int:
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0
        except OSError as exc:
            self._hear_last_words()
            raise self._broken(exc) from exc
        self._last_out = time.monotonic()
        return sent

    def _hear_last_words(self) -> None:
        """Raise what the server said before it broke off, if it said anything."""
        if not self._over:
            self._over = True
            with contextlib.suppress(OSError):
                self._in += self._socket.recv(_CHUNK)
                self._take_in()

    def _flush(self) -> None:
        while self.unsent:
            # The same bytes again, as TLS wants it.
            sent = self._send_some(bytes(self.unsent[: 1 << 20]))
            if not sent:
                return
            del self.unsent[:sent]

    def pump(self) -> bool:
        """Send what is left, take in what has come, keep the heartbeat; never wait.

        Returns whether there may be more to read at once.
        """
        if not self.alive:
            raise BrokerConnectionError(f"the line to {self.address.shown} is closed: open it")
        if self.unsent:
            self._flush()
        total, ended = 0, None
        while total < _MOST:
            try:
                data = self._socket.recv(_CHUNK)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError as exc:
                ended = self._broken(exc)
                break
            if not data:
                ended = self._broken(None)
                break
            total += len(data)
            self._in += data
        if total:
            self._last_in = time.monotonic()
            self._take_in()
        if ended is not None:
            self.drop()
            raise ended
        if self.heartbeat:
            self._beat()
        return total >= _MOST

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._last_out > self.heartbeat / 2 and not self.unsent:
            self.send(codec.HEARTBEAT_FRAME)
        if now - self._last_in > 2 * self.heartbeat + min(self.heartbeat, 5.0):
            self.drop()
            raise BrokerConnectionError(
                f"broker {self.address.shown} has been silent for {now - self._last_in:.0f} s"
            )

    # --- frames ---------------------------------------------------------------------------------

    def _take_in(self) -> None:
        data = bytes(self._in)
        at, end = 0, len(data)
        try:
            while at + 8 <= end:
                kind, number, size = _FRAME.unpack_from(data, at)
                after = at + 8 + size
                if after > end:
                    break
                if data[after - 1] != 0xCE:
                    raise ValueError("a frame without its end")
                payload = data[at + 7 : after - 1]
                at = after
                channel = self._channels.get(number)
                if channel is None:
                    continue  # said before it heard that we have left
                if kind == codec.METHOD:
                    self._take_method(channel, payload)
                elif kind == codec.HEADER:
                    self._take_header(channel, payload)
                elif kind == codec.BODY:
                    self._take_body(channel, payload)
        except (ValueError, IndexError, struct.error, AMQPError) as exc:
            self.drop()
            raise BrokerConnectionError(
                f"{self.address.shown} does not speak AMQP 0-9-1 as we know it: {exc}"
            ) from exc
        finally:
            del self._in[:at]

    def _take_method(self, channel: Channel, payload: bytes) -> None:
        code = _CODE.unpack_from(payload)[0]
        if code in (codec.DELIVER, codec.RETURN):
            channel.content = (codec.read_delivered(code, payload), -1, b"", [])
            return
        if code in (codec.ACK, codec.NACK):
            tag = int.from_bytes(payload[4:12], "big")
            channel.on_confirm(tag, bool(payload[12] & 1), code == codec.ACK)
            return
        kind = spec.methods.get(code)
        if kind is None:
            raise ValueError(f"unknown method {code:#x}")
        method = kind()
        method.decode(payload, 4)
        if code == codec.GET_OK:
            delivered = codec.read_delivered(code, payload)
            channel.content = (delivered, -1, b"", [])
        else:
            self._obey(channel, method)

    def _take_header(self, channel: Channel, payload: bytes) -> None:
        if channel.content is None:
            raise ValueError("a header without its method")
        size = int.from_bytes(payload[4:12], "big")
        channel.content = (channel.content[0], size, payload[12:], [])
        if not size:
            self._complete(channel)

    def _take_body(self, channel: Channel, payload: bytes) -> None:
        if channel.content is None:
            raise ValueError("a body without its header")
        delivered, left, properties, pieces = channel.content
        pieces.append(payload)
        left -= len(payload)
        channel.content = (delivered, left, properties, pieces)
        if left <= 0:
            self._complete(channel)

    def _complete(self, channel: Channel) -> None:
        assert channel.content is not None
        delivered, _, properties, pieces = channel.content
        channel.content = None
        content = Content(properties, pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if delivered.kind == codec.DELIVER:
            channel.on_deliver(delivered, content)
        elif delivered.kind == codec.RETURN:
            channel.on_return(delivered, content)
        else:
            channel.replies.append((delivered, content))

    def _obey(self, channel: Channel, method: Any) -> None:
        """Answer what the server says unasked; everything else is an answer to us."""
        if isinstance(method, spec.Connection.Close):
            self._server_leaves(method)
        elif isinstance(method, spec.Channel.Close):
            self.say(channel, spec.Channel.CloseOk())
            channel.open = False
            channel.closed = Refusal(
                method.reply_code, _text(method.reply_text), method.class_id, method.method_id
            )
        elif isinstance(method, spec.Connection.Blocked):
            self.blocked = _text(method.reason) or "it is short of resources"
        elif isinstance(method, spec.Connection.Unblocked):
            self.blocked = None
        elif isinstance(method, spec.Channel.Flow):
            self.say(channel, spec.Channel.FlowOk(method.active))
        elif isinstance(method, spec.Basic.Cancel):
            channel.on_cancel(_text(method.consumer_tag))
        else:
            channel.replies.append((method, None))

    def _server_leaves(self, method: Any) -> None:
        self._over = True
        with contextlib.suppress(BrokerError):
            self.say(self._channels[0], spec.Connection.CloseOk())
        self.drop()
        said = Refusal(
            method.reply_code, _text(method.reply_text), method.class_id, method.method_id
        )
        raise refusal(self.address, said)

    # --- errors ---------------------------------------------------------------------------------

    def _broken(self, exc: OSError | None) -> BrokerConnectionError:
        if exc is not None:
            self.drop()
        return lost(self.address, exc)


class NoAnswer(BrokerConnectionError):
    """Raised when the server does not answer in time; the line is dropped then."""


class ChannelRefused(BrokerError):
    """Raised when the server closes a channel over what was asked: `said` has its words."""

    def __init__(self, where: str, said: Refusal) -> None:
        self.said = said
        super().__init__(f"{where} refused: {said.text} ({said.code})")


def _framed(channel: int, method: Any) -> bytes:
    payload = struct.pack(">I", method.INDEX) + b"".join(method.encode())
    return codec.frame(codec.METHOD, channel, payload)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")
