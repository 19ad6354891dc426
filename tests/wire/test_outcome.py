"""An outcome crosses the pipe between child and parent unchanged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.wire import outcome
from taskctl.core.wire.message import Publication
from taskctl.core.wire.outcome import Outcome, StoredMeta, decode_outcome, encode_outcome

_metas = st.builds(
    StoredMeta, task_id=st.text(), state=st.sampled_from(["SUCCESS", "RETRY"]), meta=st.binary()
)
_publications = st.builds(
    Publication,
    exchange=st.text(max_size=5),
    routing_key=st.text(max_size=5),
    envelope=st.binary(),
    priority=st.integers(0, 9),
    due=st.none() | st.floats(allow_nan=False),
    task_id=st.none() | st.text(max_size=5),
)


@given(
    st.builds(
        Outcome,
        request=st.integers(0, 2**63),
        kind=st.sampled_from(outcome.KINDS),
        runtime=st.floats(0, 1e9),
        text=st.text(),
        traceback=st.text(),
        results=st.lists(_metas, max_size=3),
        publications=st.lists(_publications, max_size=3),
        requeue=st.booleans(),
        signum=st.none() | st.integers(1, 64),
    )
)
def test_every_outcome_comes_back(sent: Outcome) -> None:
    assert decode_outcome(encode_outcome(sent)) == sent


def test_a_bare_outcome_is_a_small_record() -> None:
    assert len(encode_outcome(Outcome(request=1, kind=outcome.SUCCEEDED))) < 40
