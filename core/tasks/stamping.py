"""Stamps: headers of a signature's own that every task of a canvas bears, and all that follow it.

A stamp is an option of the signature, named in its option `stamped_headers`; on the wire it is a
value of the header `stamps` (protocol.md 1.2).  `Signature.stamp` walks a canvas; a visitor may
choose other stamps for each part of it.  Names and order of the calls are Celery 5.7's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

Stamps = dict[str, Any]


class StampingVisitor(ABC):
    """Chooses stamps for the parts of a canvas.

    Each method gets the part, and the stamps so far by name; it returns the stamps to add.  With
    a key `stamped_headers` only the names it lists are stamps, and the others plain options.
    """

    @abstractmethod
    def on_signature(self, sig: Any, **headers: Any) -> Stamps:
        """Return the stamps of one task."""

    def on_group_start(self, group: Any, **headers: Any) -> Stamps:
        """Return stamps for all tasks of a group."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:
        """Called when all tasks of a group are stamped."""

    def on_chain_start(self, chain: Any, **headers: Any) -> Stamps:
        """Return stamps for all tasks of a chain."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:
        """Called when all tasks of a chain are stamped."""

    def on_chord_header_start(self, sig: Any, **header: Any) -> Stamps:
        """Return stamps for all header tasks of the chord `sig`: by default, those of a group."""
        return self.on_group_start(sig.header_group(), **header)

    def on_chord_header_end(self, sig: Any, **header: Any) -> None:
        """Called when the header of a chord is stamped."""
        self.on_group_end(sig.header_group(), **header)

    def on_chord_body(self, sig: Any, **header: Any) -> Stamps:
        """Return stamps for the body of the chord `sig`."""
        return {}

    def on_callback(self, callback: Any, **header: Any) -> Stamps:
        """Return stamps for a callback (`link`)."""
        return {}

    def on_errback(self, errback: Any, **header: Any) -> Stamps:
        """Return stamps for an errback (`link_error`)."""
        return {}


def collected(
    given: Mapping[str, Any],
    chosen: Mapping[str, Any] | None,
    own: Mapping[str, Any] | None,
    *,
    append: bool,
) -> Stamps:
    """Return all stamps of a part: those `given`, those a visitor has `chosen`, and its `own`.

    `own` are the options of a signature, of which only stamps count.  Of two values of one name
    the first wins or, with `append`, both make a list.
    """
    stamps = {name: _copy(value) for name, value in given.items()}
    names = list(stamps.pop("stamped_headers", stamps))
    if chosen is not None:
        names += chosen.get("stamped_headers", chosen)
        _add(stamps, {k: v for k, v in chosen.items() if k != "stamped_headers"}, append)
    if own is not None:
        names += own.get("stamped_headers") or ()
        _add(stamps, {k: v for k, v in own.items() if k in names}, append)
    return {"stamped_headers": list(dict.fromkeys(names)), **stamps}


def _add(stamps: Stamps, more: Mapping[str, Any], append: bool) -> None:
    for name, value in more.items():
        if name not in stamps:
            stamps[name] = _copy(value)
        elif append:
            stamps[name] = _listed(stamps[name]) + [
                item for item in _listed(value) if item not in _listed(stamps[name])
            ]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set) else [value]


def _copy(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


class Stampable:
    """How a signature is stamped; the compound kinds stamp their members instead."""

    options: Any
    app: Any

    def stamp(self, visitor: StampingVisitor | None = None, append_stamps: bool = False,
              **headers: Any) -> Any:  # fmt: skip
        """Put stamps on this signature and all that follows it; return self.

        `headers` are the stamps by name, values of any kind the serializer writes; `visitor`
        chooses more.  A stamp that is there already is replaced or, with `append_stamps`,
        becomes a list of both.
        """
        self.stamp_links(visitor, append_stamps, **headers)
        chosen = None if visitor is None else visitor.on_signature(self, **headers) or {}
        self.options.update(collected(headers, chosen, self.options, append=append_stamps))
        return self

    def stamp_links(self, visitor: StampingVisitor | None = None, append_stamps: bool = False,
                    **headers: Any) -> None:  # fmt: skip
        """Stamp the callbacks and errbacks of this signature, not itself."""
        hooks = ("link", "on_callback"), ("link_error", "on_errback")
        for option, hook in hooks:
            linked = self._links(option)
            for link in linked:
                chosen = None if visitor is None else getattr(visitor, hook)(link, **headers) or {}
                link.stamp(
                    visitor, append_stamps, **collected(headers, chosen, None, append=append_stamps)
                )
            if linked:
                self.options[option] = linked

    def _links(self, option: str) -> list[Any]:
        raise NotImplementedError
