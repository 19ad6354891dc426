"""What RabbitMQ says when it refuses, in one sentence that names the thing and the cure."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import BrokerConnectionError, BrokerError
from .amqp_options import Address

#: AMQP reply codes (specification, section 1.3).
NOT_FOUND, ACCESS_REFUSED, LOCKED, PRECONDITION = 404, 403, 405, 406
FORCED, INVALID_PATH, NOT_ALLOWED, NOT_IMPLEMENTED = 320, 402, 530, 540


class Refusal(NamedTuple):
    """Code and text of a Close, and the method it is about."""

    code: int
    text: str
    class_id: int = 0
    method_id: int = 0


#: RabbitMQ 3.10: inequivalent arg 'x-max-priority' for queue 'q' in vhost '/': received none but
#: current is the value '10' of type 'signedint'
_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']*)' for (?P<kind>queue|exchange) '(?P<name>.*?)' in vhost "
    r"'.*?': received (?P<asked>.*?) but current is (?P<there>.*)$"
)
_VALUE = re.compile(r"^the value '(?P<value>.*)' of type '[^']*'$")


def refusal(address: Address, said: Refusal) -> BrokerError:
    """Return the error of a connection that the server closed."""
    where, text = address.shown, said.text.partition(" - ")[2] or said.text
    if said.code == ACCESS_REFUSED and "ogin" in said.text:
        return BrokerError(f"{where} refuses access: check user and password of the broker URL")
    if said.code in (NOT_ALLOWED, INVALID_PATH) and "vhost" in said.text:
        if "not found" in said.text:
            return BrokerError(
                f"{where}: there is no virtual host {address.vhost!r}: the path of the URL names "
                "it (// at the end is '/'); make it with rabbitmqctl add_vhost"
            )
        return BrokerError(
            f"{where}: user {address.username!r} may not use the virtual host {address.vhost!r}: "
            "allow it with rabbitmqctl set_permissions"
        )
    if said.code == FORCED:
        return BrokerConnectionError(f"broker {where} closed the connection: {text}")
    if said.code in (NOT_ALLOWED, ACCESS_REFUSED):
        return BrokerError(f"{where} refuses access: {text}")
    return BrokerConnectionError(f"broker {where} closed the connection: {text} ({said.code})")


def explain(shown: str, said: Refusal, doing: str) -> BrokerError:
    """Return the error of a channel that the server closed while we were `doing` something."""
    text = said.text.partition(" - ")[2] or said.text
    if said.code == PRECONDITION and (match := _INEQUIVALENT.search(text)):
        name, argument = match["name"], match["argument"]
        there, asked = _plain(match["there"]), _plain(match["asked"])
        return BrokerError(
            f"{match['kind']} {name!r} exists on {shown} with other arguments: {argument} is "
            f"{there} there, {asked} was asked: declare it as it is, or delete it and start anew"
        )
    if said.code == PRECONDITION and "acknowledgement" in text and "timed out" in text:
        return BrokerConnectionError(
            f"broker {shown} took back what was not acknowledged for too long: {text}; raise its "
            "consumer_timeout above the longest task"
        )
    if said.code == ACCESS_REFUSED:
        return BrokerError(
            f"{shown} refuses access while {doing}: {text}; allow it with rabbitmqctl "
            "set_permissions"
        )
    if said.code == LOCKED:
        return BrokerError(f"{doing}: it belongs to another connection alone: {text}")
    if said.code == NOT_FOUND:
        return BrokerError(f"{doing}: {text}")
    return BrokerError(f"{shown} refused {doing}: {text} ({said.code})")


def _plain(value: str) -> str:
    match = _VALUE.match(value)
    return match["value"] if match else value.strip("'")
