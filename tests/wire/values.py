"""Random values of the kinds that travel."""

from __future__ import annotations

from datetime import UTC, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

_text = st.text(max_size=20)
_numbers = st.integers() | st.floats(allow_nan=False)
_zones = st.sampled_from([None, UTC, timezone(timedelta(hours=-3, minutes=-30))])


def _nested(leaves: Any) -> Any:
    # {"__type__", "__value__"} is taken: such an object means an extended type
    keys = _text.filter(lambda key: not key.startswith("__"))
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


#: What JSON itself can hold.
plain = _nested(st.none() | st.booleans() | _numbers | _text)
#: What Celery's extended JSON can hold.
extended = _nested(
    st.none()
    | st.booleans()
    | _numbers
    | _text
    | st.datetimes(timezones=_zones)
    | st.dates()
    | st.times()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary(max_size=20)
)
#: What msgpack can hold.
packable = _nested(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | _text
    | st.binary(max_size=20)
)

#: What YAML can hold and bring back: no letters that its scanner replaces, UTC alone.
_words = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co", "Zl", "Zp")), max_size=20
)
yamlable = _nested(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _words
    | st.dates()
    | st.datetimes(timezones=st.sampled_from([None, UTC]))
    | st.binary(max_size=20)
)
