from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsv.training.data.recordings import Recording
from vecsv.training.data.table import RecordingTable

texts = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=20)
recordings = st.builds(
    Recording,
    texts,
    texts.map(Path),
    st.none() | st.integers(1, 999_999_999),
    texts,
    st.integers(1000, 1_000_000),
    st.integers(0, 2**40),
    st.integers(2**40 + 1, 2**50),
    st.booleans(),
)


@settings(max_examples=30)
@given(st.lists(recordings, max_size=5))
def test_what_is_packed_comes_out_again(packed: list[Recording]) -> None:
    table = pickle.loads(pickle.dumps(RecordingTable(packed)))

    assert list(table) == packed
    assert table[1:] == packed[1:]


def test_a_name_that_is_no_utf8_is_kept() -> None:
    recording = Recording("a", Path("caf\udce9.wav"), None, "ann", 16000, 0, 1)

    assert RecordingTable([recording])[0].path == Path("caf\udce9.wav")


@pytest.mark.parametrize("place", [-1, 1])
def test_a_place_beyond_the_table_is_refused(place: int) -> None:
    with pytest.raises(IndexError):
        RecordingTable([Recording("a", Path("a"), None, "ann", 16000, 0, 1)])[place]


def test_a_table_is_a_fraction_of_its_recordings() -> None:
    many = [
        Recording(f"{n:06d}.wav", Path(f"/corpus/{n % 9}/{n:06d}.wav"), None, f"{n % 9}", 16000, 0, 9)
        for n in range(999)
    ]

    assert len(pickle.dumps(RecordingTable(many))) < 110 * len(many)
