"""The synthetic speakers that demonstrations and end-to-end tests rest on."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.fixtures.voices import (
    ACCENTS,
    HIGH_VARIANTS,
    LOW_VARIANTS,
    make_corpus,
    make_once,
    plan_utterances,
    plan_voices,
)


def rows_of(manifest: Path) -> list[list[str]]:
    return [line.split("\t") for line in manifest.read_text(encoding="utf-8").splitlines()]


def median_pitch(path: Path) -> float:
    """Median over frames of the strongest autocorrelation lag between 60 and 400 Hz."""
    waveform, rate = soundfile.read(path, dtype="float64")
    size = int(0.04 * rate)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, size)[:: size // 2]
    frames = frames[np.sqrt(np.mean(frames**2, axis=1)) > np.sqrt(np.mean(waveform**2))]
    spectrum = np.abs(np.fft.rfft(frames - frames.mean(axis=1, keepdims=True), 2 * size)) ** 2
    shortest, longest = rate // 400, rate // 60
    lags = np.fft.irfft(spectrum)[:, shortest:longest].argmax(axis=1) + shortest
    return float(np.median(rate / lags))


def test_manifest_lists_every_recording_once_beside_its_speaker(voices: Path) -> None:
    rows = rows_of(voices / "train.tsv")
    assert len(rows) == 96
    assert len({speaker for _, speaker in rows}) == 12
    assert {path for path, _ in rows} == {str(path.relative_to(voices)) for path in voices.rglob("*.wav")}
    assert all(Path(path).parent.name == speaker for path, speaker in rows)


def test_recordings_are_mono_16_bit_speech_of_3_to_8_seconds(voices: Path) -> None:
    for path, _ in rows_of(voices / "train.tsv"):
        info = soundfile.info(voices / path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 3.0 <= info.duration <= 8.0, path
        waveform, _ = soundfile.read(voices / path, dtype="float32")
        assert 0.02 < np.sqrt(np.mean(waveform**2)) < 0.13, path
        assert np.abs(waveform).max() < 1.0, path


def test_a_speaker_keeps_a_pitch_and_speakers_differ_in_it(voices: Path) -> None:
    of_speaker: dict[str, list[float]] = {}
    for path, speaker in rows_of(voices / "train.tsv"):
        of_speaker.setdefault(speaker, []).append(np.log2(median_pitch(voices / path)))
    within = np.median([np.std(pitches) for pitches in of_speaker.values()])
    between = np.std([np.median(pitches) for pitches in of_speaker.values()])
    assert between > 3 * within


def test_equal_arguments_give_equal_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    first, second, other = (
        make_corpus(tmp_path / name, speakers=2, utterances=2, seed=seed)
        for name, seed in (("first", 5), ("second", 5), ("other", 6))
    )
    for path, _ in rows_of(first):
        assert (first.parent / path).read_bytes() == (second.parent / path).read_bytes()
        assert (first.parent / path).read_bytes() != (other.parent / path).read_bytes()


def test_sample_rate_is_the_one_asked_for(tmp_path: Path) -> None:
    manifest = make_corpus(tmp_path, speakers=1, utterances=1, sample_rate=8000)
    assert soundfile.info(tmp_path / rows_of(manifest)[0][0]).samplerate == 8000


def test_no_variant_is_offered_twice() -> None:
    offered = [*LOW_VARIANTS, *HIGH_VARIANTS]
    assert len(set(offered)) == len(offered)


def test_every_accent_and_variant_can_be_spoken(tmp_path: Path) -> None:
    speakers = 2 * max(len(LOW_VARIANTS), len(HIGH_VARIANTS), len(ACCENTS))
    planned = plan_voices(speakers, seed=0)
    assert {voice.variant for voice in planned} == {*LOW_VARIANTS, *HIGH_VARIANTS}
    assert {voice.language for voice in planned} == set(ACCENTS)
    manifest = make_corpus(tmp_path, speakers=speakers, utterances=1)
    assert all(soundfile.info(tmp_path / path).duration > 2.5 for path, _ in rows_of(manifest))


def test_no_two_of_many_voices_are_equal() -> None:
    planned = plan_voices(200, seed=1)
    described = {(v.language, v.variant, v.pitch, v.pitch_range, v.rate, v.tract) for v in planned}
    assert len(described) == 200


def test_a_speaker_never_repeats_a_sentence() -> None:
    (voice,) = plan_voices(1, seed=0)
    texts = [utterance.text for utterance in plan_utterances([voice], 576, seed=0)]
    assert len(set(texts)) == 576


def test_more_utterances_than_sentences_are_refused() -> None:
    with pytest.raises(ValueError, match="between 1 and 576, not 577"):
        plan_utterances(plan_voices(1, seed=0), 577, seed=0)


def test_shared_folder_is_made_once_by_many_that_want_it(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "content").write_text("whole")
        made.append(folder)

    threads = [threading.Thread(target=make_once, args=(tmp_path, "corpus", make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (tmp_path / "corpus" / "content").read_text() == "whole"


def test_shared_folder_does_not_appear_when_making_it_fails(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        folder.mkdir()
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        make_once(tmp_path, "corpus", fail)
    assert not (tmp_path / "corpus").exists()
