from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.sounds import noise, tone
from vecsv.arrays import Waveform
from vecsv.audio.resample import regroup, resample

RATES = [8000, 11025, 16001, 22050, 44100, 48000, 192000]


def pieces(waveform: Waveform, sizes: list[int]) -> list[Waveform]:
    """Cut a waveform into pieces of these sizes, over and over."""
    parts, start, turn = [], 0, 0
    while start < waveform.size:
        parts.append(waveform[start : start + sizes[turn % len(sizes)]])
        start += parts[-1].size
        turn += 1
    return parts


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RATES), st.integers(1, 30000), st.lists(st.integers(1, 5000), min_size=1, max_size=5))
def test_a_stream_equals_soxr_in_one_go(rate: int, samples: int, sizes: list[int]) -> None:
    waveform = noise(1, rate=samples)
    expected = soxr.resample(waveform, rate, 16000, quality="HQ")
    parts = [np.zeros(0, dtype=np.float32), *resample(pieces(waveform, [max(size, 50) for size in sizes]), rate, 16000)]
    result = np.concatenate(parts)
    assert result.size == expected.size
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)
    assert result.dtype == np.float32


def test_equal_rates_pass_everything_through_untouched() -> None:
    parts = [noise(0.1, seed=seed) for seed in range(3)]
    assert all(got is given for got, given in zip(resample(parts, 16000, 16000), parts, strict=True))


def test_a_tone_keeps_its_pitch_and_level() -> None:
    result = np.concatenate(list(resample([tone(1, 48000, hertz=1000)], 48000, 16000)))
    np.testing.assert_allclose(result[800:-800], tone(1, 16000, hertz=1000)[800:-800], atol=1e-4)


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot resample from 0 to 16000"):
        list(resample([noise(0.1)], 0, 16000))


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 30))
def test_regrouping_changes_only_where_blocks_are_cut(lengths: list[int], size: int) -> None:
    whole = np.arange(sum(lengths), dtype=np.float32)
    chunks = np.split(whole, np.cumsum(lengths)[:-1]) if lengths else []
    blocks = list(regroup(chunks, size))
    assert all(block.size == size for block in blocks[:-1])
    assert all(0 < block.size <= size for block in blocks[-1:])
    np.testing.assert_array_equal(np.concatenate([np.zeros(0, np.float32), *blocks]), whole)


def test_a_block_of_no_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        list(regroup([noise(0.1)], 0))
