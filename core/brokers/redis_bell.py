"""How a Redis broker learns that something came, without polling and without a thread.

Redis keeps track of what a client has looked at and tells it when that changes (CLIENT TRACKING,
Redis 6).  So: after a fetch that came back short, look at all lists with EXISTS - a fetch with no
messages would see nothing either - and the server sends one line to our pub/sub connection
as soon as anybody, Celery included, pushes to one of them.  One connection serves any
number of queues, broadcasts and this; nothing is sent while nothing happens.

The obvious other way, BLMOVE of each list onto itself, was left: it needs a connection per list
(four per queue) and carries the whole message to every idle worker.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

import msgspec

from ..errors import BrokerConnectionError, BrokerError
from ..wire.queues import topic_matches
from .base import Heard
from .redis_address import Address
from .redis_keys import Keys
from .redis_line import Line, command
from .redis_refusals import lacks_right

logger = logging.getLogger(__name__)

#: The channel a server tells RESP2 clients on that a key they looked at has changed.
INVALIDATIONS = b"__redis__:invalidate"
#: Broadcasts kept for a listener that does not come; more stay in the socket.
MAX_HEARD = 10_000
#: Broadcasts remembered to know their second copy by; kombu's number.
REMEMBERED = 1000


class _Listen(msgspec.Struct, frozen=True):
    exchange: str
    pattern: str
    globs: tuple[bytes, ...]
    heard: deque[Heard]

    def takes(self, exchange: str, routing_key: str) -> bool:
        if exchange != self.exchange:
            return False
        return topic_matches(self.pattern, routing_key) if self.pattern else not routing_key


class Bell:
    """The listening side of a broker: one descriptor, readable when a key changed or a
    broadcast came.

    The pub/sub connection is made when it is first needed: a client that only publishes has none.
    """

    def __init__(self, commands: Line, keys: Keys, address: Address, timeout: float) -> None:
        self.heard: deque[Heard] = deque()
        self.works = True
        self._commands = commands
        self._keys = keys
        self._address = address
        self._timeout = timeout
        self._ears: Line | None = None
        self._ears_id = 0
        self._listens: list[_Listen] = []
        self._tracking = False
        self._armed: set[bytes] = set()
        self._rung: set[bytes] = set()
        self._last_word = time.monotonic()
        self._probed: float | None = None
        #: (exchange, tag) of broadcasts that came, where each comes on two channels
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        # A ring that was read by one caller and concerns another must stay readable.
        self._reminder, self._remind = socket.socketpair()
        self._reminder.setblocking(False)
        self._reminding = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reminder, selectors.EVENT_READ)

    def fileno(self) -> int:
        return self._selector.fileno()

    @property
    def alive(self) -> bool:
        """Whether it can still hear; one that never had to listen is fine."""
        return self._ears is None or self._ears.alive

    def close(self) -> None:
        """Let go of all descriptors; in a forked child the parent's ends stay as they are."""
        if self._ears is not None:
            self._ears.close()
            self._ears = None
        self._selector.close()
        self._reminder.close()
        self._remind.close()

    # --- looking ----------------------------------------------------------------------------

    def arm(self, lists: Sequence[bytes], watched: Sequence[bytes] = ()) -> bool:
        """Ask to be told when one of these lists changes, or of the keys `watched`; return
        whether all lists are empty now."""
        quiet = [key for key in lists if key not in self._armed]
        if not quiet or not self.works:
            return True
        if not self._tracking:
            self._start_tracking()
            if not self.works:
                return True
        self._armed.update(quiet, watched)
        track = command(b"CLIENT", b"CACHING", b"YES")
        looks = [track, command(b"EXISTS", *quiet)]
        if watched:
            looks += [track, command(b"EXISTS", *watched)]
        return not self._commands.ask_all(looks)[1]

    def _start_tracking(self) -> None:
        ears = self._open_ears()
        try:
            self._commands.ask(b"CLIENT", b"TRACKING", b"ON", b"REDIRECT", self._ears_id, b"OPTIN")
            self._subscribe(ears, b"SUBSCRIBE", [INVALIDATIONS])
        except BrokerConnectionError:
            raise
        except BrokerError as exc:
            self.works = False
            logger.warning("new messages are looked for every 0.1 s, without notice: %s", exc)
            return
        self._tracking = True

    def answered(self, lists: Iterable[bytes] | None = None) -> None:
        """Note that the caller looks at these lists now, or at whatever rang."""
        if lists is None:
            self._rung.clear()
        else:
            self._rung.difference_update(lists)

    def forget(self, lists: Iterable[bytes]) -> None:
        """Be silent about these lists from now on."""
        self._armed.difference_update(lists)
        self._rung.difference_update(lists)
        self.settle()

    def ring(self, key: bytes) -> None:
        """Make the descriptor readable: something waits on this list."""
        self._rung.add(key)
        self.settle()

    def settle(self) -> None:
        """Leave the descriptor readable if and only if something waits for another call."""
        waiting = bool(self._rung) or any(listen.heard for listen in self._listens)
        if waiting and not self._reminding:
            self._remind.send(b"!")
        elif self._reminding and not waiting:
            self._reminder.recv(16)
        self._reminding = waiting

    # --- listening --------------------------------------------------------------------------

    def listen(self, exchange: str, pattern: str, heard: deque[Heard]) -> None:
        """Put broadcasts of `exchange` matching `pattern` into `heard`, from now on."""
        globs = tuple(self._keys.globs(exchange, pattern))
        listen = _Listen(exchange, pattern, globs, heard)
        if listen in self._listens:
            return
        self._listens.append(listen)
        self._subscribe(self._open_ears(), b"PSUBSCRIBE", globs)

    def stop_listening(self, heard: deque[Heard], exchange: str) -> None:
        """Undo `listen` for one exchange and one receiver."""
        ended = [one for one in self._listens if one.heard is heard and one.exchange == exchange]
        self._listens = [one for one in self._listens if one not in ended]
        kept = {glob for one in self._listens for glob in one.globs}
        gone = [glob for one in ended for glob in one.globs if glob not in kept]
        if gone:
            self._subscribe(self._open_ears(), b"PUNSUBSCRIBE", gone)

    def pump(self) -> None:
        """Read what has come; never wait."""
        if self._ears is None or not self._selector.select(0):
            return
        while len(self.heard) < MAX_HEARD and self._ears.has_news():
            self._note(self._ears.read())

    def probe(self) -> None:
        """Find out whether the listening connection still lives; call now and then.

        A connection that a firewall forgot is silent for ever, as one where nothing happens is.
        """
        interval = self._keys.options.health_check_interval
        if self._ears is None or not interval:
            return
        self.pump()
        now = time.monotonic()
        if self._probed is not None:
            if now - self._probed > interval:
                self._ears.alive = False
                raise BrokerConnectionError(f"{self._address.shown} went silent: open it again")
        elif now - self._last_word > interval:
            self._probed = now
            self._ears.send(command(b"PING"))

    def _open_ears(self) -> Line:
        if self._ears is None:
            # A frozen server must not hold a worker that only wants to listen.
            self._ears = Line(self._address, self._keys.options, self._timeout)
            self._ears_id = int(self._ears.ask(b"CLIENT", b"ID"))
            self._selector.register(self._ears, selectors.EVENT_READ)
        return self._ears

    def _subscribe(self, ears: Line, verb: bytes, names: Sequence[bytes]) -> None:
        """Change subscriptions and wait until the server has said so for each of them."""
        confirmed = 0
        ears.send(command(verb, *names))
        while confirmed < len(names):
            try:
                reply = ears.read()
            except BrokerError as exc:
                refusal = exc.__cause__
                if isinstance(refusal, Exception) and lacks_right(refusal):
                    raise self._commands.explain(refusal, asked=[verb, *names]) from exc
                raise
            if isinstance(reply, list) and reply[0] == verb.lower():
                confirmed += 1
            else:
                self._note(reply)
        self.settle()

    def _note(self, reply: object) -> None:
        """Take in one message of the pub/sub connection."""
        self._last_word, self._probed = time.monotonic(), None
        if not isinstance(reply, list):
            return
        if reply[0] == b"pmessage":
            self._note_broadcast(*reply[1:])
        elif reply[0] == b"message" and reply[1] == INVALIDATIONS:
            # None: everything changed (FLUSHALL, or the server's table was full).
            changed = set(self._armed if reply[2] is None else reply[2]) & self._armed
            self._armed -= changed
            self._rung |= changed

    def _note_broadcast(self, glob: bytes, channel: bytes, envelope: bytes) -> None:
        exchange, routing_key = self._keys.heard_on(channel)
        if not self._keys.options.fanout_patterns:
            routing_key = _routed(envelope).delivery_info.routing_key or ""
        if len(self._keys.prefixes) > 1 and self._came_before(exchange, envelope):
            return
        reached: list[int] = []
        for listen in self._listens:
            # One channel may match several globs and then comes as often: take the first.
            if id(listen.heard) not in reached and listen.takes(exchange, routing_key):
                reached.append(id(listen.heard))
                if glob in listen.globs:
                    listen.heard.append(
                        Heard(exchange=exchange, routing_key=routing_key, envelope=envelope)
                    )

    def _came_before(self, exchange: str, envelope: bytes) -> bool:
        """Return whether this broadcast already came on the other channel; one without a tag
        cannot be known again."""
        tag = _routed(envelope).delivery_tag
        if not tag:
            return False
        if (exchange, tag) in self._seen:
            return True
        self._seen[exchange, tag] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return False


class _DeliveryInfo(msgspec.Struct, frozen=True):
    routing_key: str | None = ""


class _Properties(msgspec.Struct, frozen=True):
    delivery_info: _DeliveryInfo = _DeliveryInfo()
    delivery_tag: str | None = None


class _Routed(msgspec.Struct):
    properties: _Properties = _Properties()


def _routed(envelope: bytes) -> _Properties:
    """Return what an envelope says of its way, where the channel does not tell it."""
    try:
        return msgspec.json.decode(envelope, type=_Routed).properties
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Properties()
