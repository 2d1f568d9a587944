"""The page's own arithmetic, run where it runs: WAV files, levels, and what a score means."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.serve.browser.conftest import Visit
from tests.serve.browser.pages import VecsvPage


@pytest.fixture
def page(visit: Visit, service: str) -> VecsvPage:
    return visit(service)


def _run(page: VecsvPage, module: str, expression: str, value: Any = None) -> Any:
    """The value of an expression in which `it` is a module of the page and `value` is what is given."""
    return page.page.evaluate(
        f"async (value) => {{ const it = await import('./page/{module}'); return {expression}; }}", value
    )


def test_a_wav_file_holds_the_samples(page: VecsvPage) -> None:
    samples = np.random.default_rng(0).uniform(-1.2, 1.2, 4001).astype(np.float32)
    written = _run(page, "wav.js", "[...new Uint8Array(it.wav(Float32Array.from(value), 44100))]", samples.tolist())
    read, rate = soundfile.read(io.BytesIO(bytes(written)), dtype="int16")
    assert rate == 44100
    expected = np.clip(np.floor(samples.astype(np.float64) * 32768 + 0.5), -32768, 32767)
    assert np.array_equal(read, expected)


def test_shares_above_a_score_agree_with_counting(page: VecsvPage) -> None:
    scores = np.random.default_rng(1).normal(0.6, 0.1, 5000)
    edges = np.linspace(0, 1, 201)
    counts = np.histogram(scores, edges)[0]
    for place in (-0.5, 0.0, 0.45, 0.6, 0.8125, 1.0, 2.0):
        share = _run(
            page, "scale.js", "it.shareAbove(value.edges, value.counts, value.place)",
            {"edges": edges.tolist(), "counts": counts.tolist(), "place": place},
        )  # fmt: skip
        assert share == pytest.approx(float(np.mean(scores >= place)), abs=0.006)


def test_fewer_bins_hold_the_same_counts(page: VecsvPage) -> None:
    rng = np.random.default_rng(2)
    edges = np.linspace(-1, 1, 401)
    histogram = {
        "edges": edges.tolist(),
        "targets": np.histogram(rng.normal(0.8, 0.05, 700), edges)[0].tolist(),
        "non_targets": np.histogram(rng.normal(0.3, 0.1, 3000), edges)[0].tolist(),
    }
    bins = _run(page, "scale.js", "it.coarser(value)", histogram)
    assert len(bins["targets"]) <= 48
    assert len(bins["edges"]) == len(bins["targets"]) + 1 == len(bins["nonTargets"]) + 1
    for name, given in (("targets", "targets"), ("nonTargets", "non_targets")):
        assert sum(bins[name]) == sum(histogram[given])
    for place, edge in enumerate(bins["edges"]):
        below = sum(histogram["targets"][: int(np.searchsorted(edges, edge))])
        assert sum(bins["targets"][:place]) == below


@pytest.mark.parametrize(
    ("llr", "side", "strength", "ratio", "beyond"),
    [
        (0.2, "neither", "slight", 1.2, False),
        (float(np.log(4.56)), "same", "slight", 4.5, False),
        (float(np.log(87.9)), "same", "clear", 87, False),
        (-float(np.log(431)), "different", "strong", 430, False),
        (float(np.log(9990)), "same", "veryStrong", 9900, False),
        (50.0, "same", "veryStrong", 13000, True),
    ],
)
def test_a_likelihood_is_never_made_more_of(
    page: VecsvPage, llr: float, side: str, strength: str, ratio: float, beyond: bool
) -> None:
    found = _run(page, "scale.js", "it.likelihood(value, 13546)", llr)
    assert (found["side"], found["strength"], found["ratio"], found["beyond"]) == (side, strength, ratio, beyond)


def test_ticks_are_round_and_within(page: VecsvPage) -> None:
    assert _run(page, "scale.js", "it.ticks(0.37, 1.01, 4)") == [0.4, 0.6, 0.8, 1.0]
    assert _run(page, "scale.js", "it.ticks(-3.2, 12, 5)") == [0, 5, 10]


def test_speech_is_told_from_the_room(page: VecsvPage) -> None:
    rng = np.random.default_rng(3)
    room = rng.normal(0, 0.001, 16000 * 6)
    room[16000:48000] += rng.normal(0, 0.1, 32000)
    measured = _run(page, "level.js", "it.measure(Float32Array.from(value), 16000)", room.tolist())
    assert measured["speech"] == pytest.approx(2.0, abs=0.1)
    assert measured["clippedShare"] == 0


def test_speech_without_a_pause_is_speech(page: VecsvPage) -> None:
    voice = np.random.default_rng(4).normal(0, 0.1, 16000 * 3)
    measured = _run(page, "level.js", "it.measure(Float32Array.from(value), 16000)", voice.tolist())
    assert measured["speech"] == pytest.approx(3.0, abs=0.1)


def test_peaks_cover_every_sample(page: VecsvPage) -> None:
    samples = np.zeros(1003)
    samples[[0, 500, 1002]] = 0.5, -0.75, 1.0
    peaks = _run(page, "waveform.js", "[...it.peaks(Float32Array.from(value), 10)]", samples.tolist())
    assert peaks == [0.5, 0, 0, 0, 0.75, 0, 0, 0, 0, 1.0]
