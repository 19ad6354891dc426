"""Reading `broker_transport_options`: known by name, checked by type, wrong ones explained."""

from __future__ import annotations

import difflib
from collections.abc import Container, Mapping
from typing import Any, TypeVar

import msgspec

from ..errors import ImproperlyConfigured

T = TypeVar("T", bound=msgspec.Struct)


def convert_options(
    given: Mapping[str, Any], kind: type[T], product: str, without_effect: Container[str]
) -> T:
    """Return the options of a broker of `product` as a `kind`, whose fields are their names.

    Names in `without_effect` are left out.

    Raises ImproperlyConfigured naming the option, and the nearest right name or what is wrong.
    """
    known = kind.__struct_fields__
    chosen = {name: value for name, value in given.items() if name not in without_effect}
    for name, value in chosen.items():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"
            raise ImproperlyConfigured(
                f"broker_transport_options: {name!r} is no option of a {product} broker: {hint}"
            )
        try:
            msgspec.convert({name: value}, kind)
        except msgspec.ValidationError as exc:
            reason = str(exc).partition(" - at")[0].lower()
            raise ImproperlyConfigured(f"broker_transport_options: {name}: {reason}") from exc
    return msgspec.convert(chosen, kind)
