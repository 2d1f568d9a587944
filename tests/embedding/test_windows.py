"""Recordings embedded in windows: pooled into one row, or a row each."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from numpy.typing import NDArray

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import require_whole, speak, write_speakers
from vecsv.arrays import Waveform
from vecsv.audio import decode
from vecsv.audio.activity import detect
from vecsv.audio.decode import Clip
from vecsv.audio.windows import Kept, WindowRule
from vecsv.calibration.overlaps import overlapping_cuts
from vecsv.calibration.pairs import sample_pairs
from vecsv.calibration.utterances import read_utterances
from vecsv.curation.audit import Kind, audit
from vecsv.embedding.recordings import embed_all
from vecsv.embedding.run import EmbedSettings, EmbedSummary, embed_manifest
from vecsv.embedding.windowed import Windowed, for_queries, pooled_fingerprint, windowed
from vecsv.errors import FingerprintMismatchError, StoreError, UsageError
from vecsv.evaluation.sampling import SampleSettings, draw_from_store
from vecsv.index.build import build_index
from vecsv.query.erase import erase
from vecsv.query.people import speakers
from vecsv.store.generation import Generation, commit, require_latest
from vecsv.store.parts import failed_rows
from vecsv.store.reader import Snapshot
from vecsv.store.schema import DESCRIPTION

RATE = 16000
MODEL = SpectralEmbedder()
ROWS = WindowRule(2.0, 1.0, Kept.ROWS)
POOLED = WindowRule(2.0, 1.0)
EACH = EmbedSettings(windows=ROWS)


def talk(speaker: str, seconds: int, first_take: int = 0) -> Waveform:
    return np.concatenate([speak(speaker, first_take + take) for take in range(seconds)])


def write(path: Path, wave: Waveform) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE, "FLOAT")
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Two speakers with two recordings each, of 5 s and of 4.6 s."""
    lines = []
    for speaker in ("ann", "ben"):
        for take, length in enumerate((5.0, 4.6)):
            name = f"{speaker}-{take}.wav"
            write(tmp_path / "audio" / name, talk(speaker, 5, 10 * take)[: round(length * RATE)])
            lines.append(f"{name}\t{speaker}\n")
    path = tmp_path / "audio" / "train.tsv"
    path.write_text("".join(lines))
    return path


def content(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Snapshot.open(folder).table([*DESCRIPTION, "embedding"]).to_pylist()
    return rows


def unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def alone(wave: Waveform) -> tuple[NDArray[np.float64], float]:
    """A stretch on its own through the model, and the speech in it."""
    (vector,) = MODEL.embed([MODEL.prepare(wave)])
    return vector.astype(np.float64), detect(wave).speech_s


class TestPooled:
    def test_the_vector_is_the_speech_weighted_mean_of_the_windows_taken_one_by_one(self, tmp_path: Path) -> None:
        wave = talk("ann", 7)
        wave[2 * RATE : 4 * RATE] *= 0.02
        (found,) = embed_all(windowed(MODEL, POOLED), [Clip(write(tmp_path / "a.wav", wave))])
        parts = [alone(wave[start * RATE : (start + 2) * RATE]) for start in range(6)]
        expected = unit(sum(max(speech, 0.03) * vector for vector, speech in parts))
        assert found.vector @ expected > 1 - 1e-6
        assert found.windows == ()

    def test_what_is_measured_is_the_recording_and_not_its_overlapping_windows(self, tmp_path: Path) -> None:
        clip = Clip(write(tmp_path / "a.wav", talk("ann", 6)))
        (pooled,), (whole,) = embed_all(windowed(MODEL, POOLED), [clip]), embed_all(MODEL, [clip])
        assert pooled.quality == whole.quality
        assert pooled.audio_sha256 == whole.audio_sha256

    def test_windows_do_not_depend_on_the_blocks_that_a_recording_is_decoded_in(self, tmp_path: Path) -> None:
        clip = Clip(write(tmp_path / "a.wav", talk("ann", 9)))
        rule = WindowRule(1.7, 0.6)
        (one,) = embed_all(windowed(SpectralEmbedder(block_s=2.5), rule), [clip])
        (other,) = embed_all(windowed(MODEL, rule), [clip])
        assert np.abs(one.vector - other.vector).max() < 1e-6

    def test_the_fingerprint_is_another_for_every_rule_and_model(self) -> None:
        rules = [POOLED, WindowRule(2.0, 0.5), WindowRule(3.0, 1.0)]
        found = {windowed(SpectralEmbedder(seed), rule).fingerprint for seed in (0, 1) for rule in rules}
        assert len(found | {MODEL.fingerprint}) == 7
        assert windowed(MODEL, POOLED).fingerprint == pooled_fingerprint(MODEL.fingerprint, WindowRule(2, 1))
        assert windowed(MODEL, POOLED).reference_calibration is None

    def test_the_store_remembers_the_rule_and_goes_on_with_it(self, manifest: Path, tmp_path: Path) -> None:
        embed_manifest(manifest, tmp_path / "store", MODEL, EmbedSettings(windows=POOLED))
        more = write_speakers(tmp_path / "more", ["zoe"], 2)
        embed_manifest(more, tmp_path / "store", MODEL)
        generation = require_latest(tmp_path / "store")
        assert generation.windows == POOLED
        assert generation.fingerprint == windowed(MODEL, POOLED).fingerprint
        assert [row["segment"] for row in content(tmp_path / "store")] == [0] * 6

    def test_a_query_takes_the_stores_rule(self, manifest: Path, tmp_path: Path) -> None:
        embed_manifest(manifest, tmp_path / "store", MODEL, EmbedSettings(windows=POOLED))
        query = for_queries(MODEL, require_latest(tmp_path / "store").windows)
        (found,) = embed_all(query, [Clip(manifest.parent / "ann-0.wav")])
        stored = np.float32(content(tmp_path / "store")[0]["embedding"])
        assert np.array_equal(found.vector, stored)
        assert for_queries(MODEL, ROWS) is MODEL

    def test_whole_utterances_never_meet_pooled_ones(self, manifest: Path, tmp_path: Path) -> None:
        embed_manifest(manifest, tmp_path / "whole", MODEL)
        with pytest.raises(StoreError, match="holds whole utterances, these would be windows of 2 s every 1 s, pooled"):
            embed_manifest(manifest, tmp_path / "whole", MODEL, EmbedSettings(windows=POOLED))
        with pytest.raises(FingerprintMismatchError):
            require_latest(tmp_path / "whole").require_fingerprint(windowed(MODEL, POOLED).fingerprint, where="")


class TestRows:
    def test_each_window_has_a_row_with_its_place_and_its_own_measures(self, manifest: Path, tmp_path: Path) -> None:
        summary = embed_manifest(manifest, tmp_path / "store", MODEL, EACH)
        assert (summary.rows, summary.embedded) == (4, 4)
        assert summary.audio_s == pytest.approx(19.2)
        rows = content(tmp_path / "store")
        first = [row for row in rows if row["utt_id"] == "ann-0.wav"]
        assert [(row["segment"], row["offset_s"], row["duration_s"]) for row in first] == [
            (0, 0.0, 2.0), (1, 1.0, 2.0), (2, 2.0, 2.0), (3, 3.0, 2.0),
        ]  # fmt: skip
        last = [row for row in rows if row["utt_id"] == "ann-1.wav"][-1]
        assert (last["offset_s"], last["duration_s"]) == (3.0, pytest.approx(1.6))
        assert [row["row_id"] for row in rows] == list(range(len(rows)))
        assert all(row["start_s"] is None and row["end_s"] is None for row in rows)
        assert require_latest(tmp_path / "store").fingerprint == MODEL.fingerprint
        wave = talk("ann", 5)
        for row in first:
            start = round(row["offset_s"] * RATE)
            vector, speech = alone(wave[start : start + 2 * RATE])
            assert np.asarray(row["embedding"]) @ vector > 1 - 1e-6
            assert row["speech_s"] == pytest.approx(speech)

    def test_offsets_count_from_the_start_of_a_cut(self, manifest: Path, tmp_path: Path) -> None:
        manifest.write_text("path\tspeaker\tstart_s\tend_s\nann-0.wav\tann\t1\t4\n")
        embed_manifest(manifest, tmp_path / "store", MODEL, EACH)
        rows = content(tmp_path / "store")
        assert [(row["start_s"], row["end_s"], row["offset_s"]) for row in rows] == [(1.0, 4.0, 0.0), (1.0, 4.0, 1.0)]
        vector, _ = alone(talk("ann", 5)[2 * RATE : 4 * RATE])
        assert np.asarray(rows[1]["embedding"]) @ vector > 1 - 1e-6
        utterances = read_utterances(Snapshot.open(tmp_path / "store"))
        assert (utterances.start_s.tolist(), utterances.end_s.tolist()) == ([1.0, 2.0], [3.0, 4.0])

    def test_windows_without_speech_give_no_row_and_keep_their_number(self, manifest: Path, tmp_path: Path) -> None:
        wave = talk("ann", 8)
        wave[2 * RATE : 6 * RATE] = 0
        write(manifest.parent / "ann-0.wav", wave)
        embed_manifest(manifest, tmp_path / "store", MODEL, EACH)
        kept = [row["segment"] for row in content(tmp_path / "store") if row["utt_id"] == "ann-0.wav"]
        assert kept == [0, 1, 5, 6]

    def test_an_utterance_without_a_usable_window_fails_with_the_reason(self, manifest: Path, tmp_path: Path) -> None:
        write(manifest.parent / "ann-0.wav", np.float32(0.005) * talk("ann", 5))
        summary = embed_manifest(manifest, tmp_path / "store", MODEL, EACH)
        assert (summary.embedded, summary.failed) == (3, 1)
        (row,) = failed_rows(Snapshot.open(tmp_path / "store").failures())
        assert (row.line, row.code) == (1, "no-speech")

    def test_a_second_run_finds_every_utterance_there(self, manifest: Path, tmp_path: Path) -> None:
        embed_manifest(manifest, tmp_path / "store", MODEL, EACH)
        before = content(tmp_path / "store")
        again = embed_manifest(manifest, tmp_path / "store", MODEL)
        assert (again.embedded, again.embedded_before) == (0, 4)
        assert content(tmp_path / "store") == before
        manifest.parent.rename(tmp_path / "moved")
        moved = embed_manifest(tmp_path / "moved" / manifest.name, tmp_path / "store", MODEL, EACH)
        assert (moved.embedded, moved.failed, moved.embedded_before) == (0, 0, 4)

    @pytest.mark.parametrize("other", [WindowRule(2.0, 0.5, Kept.ROWS), POOLED])
    def test_another_rule_is_refused_and_changes_nothing(
        self, manifest: Path, tmp_path: Path, other: WindowRule
    ) -> None:
        embed_manifest(manifest, tmp_path / "store", MODEL, EACH)
        before = require_latest(tmp_path / "store")
        with pytest.raises(StoreError, match="windows of 2 s every 1 s, a row each") as refused:
            embed_manifest(manifest, tmp_path / "store", MODEL, EmbedSettings(windows=other))
        assert str(other) in str(refused.value)
        assert require_latest(tmp_path / "store") == before

    def test_an_utterances_rows_are_committed_in_one_step(self, manifest: Path, tmp_path: Path) -> None:
        seen: list[dict[str, int]] = []

        def look(_: EmbedSummary) -> None:
            counts: dict[str, int] = {}
            for row in content(tmp_path / "store"):
                counts[row["utt_id"]] = counts.get(row["utt_id"], 0) + 1
            seen.append(counts)

        settings = EmbedSettings(windows=ROWS, rows_per_shard=1, seconds_per_commit=0.0, workers=1)
        lines = manifest.read_text() + "".join(f"more-{n}.wav\tann\n" for n in range(12))
        for number in range(12):
            write(manifest.parent / f"more-{number}.wav", talk("ann", 5, 100 + 5 * number))
        manifest.write_text(lines)
        embed_manifest(manifest, tmp_path / "store", MODEL, settings, progress=look)
        assert len(seen) > 1
        assert all(set(counts.values()) <= {4} for counts in seen)

    def test_workers_and_shard_size_change_nothing(self, manifest: Path, tmp_path: Path) -> None:
        embed_manifest(manifest, tmp_path / "a", MODEL, EmbedSettings(workers=1, windows=ROWS))
        many = EmbedSettings(workers=4, rows_per_shard=1, seconds_per_commit=0, windows=ROWS)
        embed_manifest(manifest, tmp_path / "b", MODEL, many)
        assert content(tmp_path / "a") == content(tmp_path / "b")

    def test_the_store_is_whole_with_its_index_and_after_an_erasure(self, manifest: Path, tmp_path: Path) -> None:
        folder = tmp_path / "store"
        embed_manifest(manifest, folder, MODEL, EACH)
        build_index(folder)
        require_whole(folder)
        erase(folder, "ann")
        left = require_whole(folder).rows
        assert {row["utt_id"] for row in left} == {"ben-0.wav", "ben-1.wav"}
        assert [row["offset_s"] for row in left] == [0.0, 1.0, 2.0, 3.0] * 2
        assert require_latest(folder).windows == ROWS

    def test_speakers_are_counted_by_utterances(self, manifest: Path, tmp_path: Path) -> None:
        embed_manifest(manifest, tmp_path / "store", MODEL, EACH)
        assert [(one.speaker, one.utterances) for one in speakers(tmp_path / "store")] == [("ann", 2), ("ben", 2)]

    def test_overlapping_windows_are_never_a_pair(self, manifest: Path, tmp_path: Path) -> None:
        embed_manifest(manifest, tmp_path / "store", MODEL, EACH)
        utterances = read_utterances(Snapshot.open(tmp_path / "store"))
        rows = content(tmp_path / "store")
        barred = {
            (one, other)
            for one in range(len(rows))
            for other in range(one + 1, len(rows))
            if rows[one]["utt_id"] == rows[other]["utt_id"] and abs(rows[one]["segment"] - rows[other]["segment"]) == 1
        }
        found = overlapping_cuts(utterances.recordings, utterances.start_s, utterances.end_s)
        assert set(zip(*(side.tolist() for side in found), strict=True)) == barred
        sample = sample_pairs(
            utterances.speakers, seed=0, ratio=99, recordings=utterances.recordings,
            start=utterances.start_s, end=utterances.end_s,
        )  # fmt: skip
        pairs = set(zip(sample.first.tolist(), sample.second.tolist(), strict=True))
        assert not pairs & barred
        # Windows of one utterance that do not overlap are pairs like others.
        assert sample.targets.available + len(barred) == 2 * 8 * 7 // 2

    def test_windows_that_touch_are_no_overlap_whatever_their_length(self, manifest: Path, tmp_path: Path) -> None:
        rule = WindowRule(0.7, 0.7, Kept.ROWS)
        embed_manifest(manifest, tmp_path / "store", MODEL, EmbedSettings(windows=rule))
        utterances = read_utterances(Snapshot.open(tmp_path / "store"))
        found, _ = overlapping_cuts(utterances.recordings, utterances.start_s, utterances.end_s)
        assert found.size == 0

    def test_overlapping_windows_are_no_copies_and_windows_of_a_copy_are(self, tmp_path: Path) -> None:
        folder = tmp_path / "audio"
        steady = np.tile(speak("ann", 0), 4)
        for name, wave in (("a", steady), ("b", talk("ben", 4)), ("c", talk("eve", 4)), ("d", talk("eve", 4))):
            write(folder / f"{name}.wav", wave)
        (folder / "train.tsv").write_text("a.wav\tann\nb.wav\tben\nc.wav\teve\nd.wav\teve\n")
        embed_manifest(
            folder / "train.tsv", tmp_path / "store", MODEL, EmbedSettings(windows=WindowRule(2, 1, Kept.ROWS))
        )
        copies = [one for one in audit(tmp_path / "store").findings if one.kind is Kind.NEAR_DUPLICATE]
        pairs = {(one.utt_id, one.other_utt_id) for one in copies}
        assert {frozenset(pair) for pair in pairs} >= {frozenset({"c.wav", "d.wav"})}
        alike = [one.detail for one in copies if one.utt_id == one.other_utt_id == "a.wav"]
        # A steady sound repeats itself, but no window is a copy of one that shares time with it.
        starts = [re.findall(r"from ([0-9.]+) s and ([0-9.]+) s", detail) for detail in alike]
        assert starts
        assert all(abs(float(one) - float(other)) >= 2.0 for ((one, other),) in starts)

    def test_no_trial_list_is_drawn_from_windows(self, manifest: Path, tmp_path: Path) -> None:
        embed_manifest(manifest, tmp_path / "store", MODEL, EACH)
        with pytest.raises(UsageError, match="a row for each window"):
            draw_from_store(tmp_path / "store", SampleSettings())


def test_a_long_recording_is_decoded_once_and_a_few_windows_are_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = Clip(write(tmp_path / "long.wav", talk("ann", 40)))
    decoded, waiting, most = 0, 0, 0
    real = decode.blocks

    def counted(*words: Any, **named: Any) -> Iterator[Waveform]:
        nonlocal decoded
        for block in real(*words, **named):
            decoded += block.size
            yield block

    class Watched(SpectralEmbedder):
        def prepare(self, waveform: Waveform, activity: Any = None) -> Any:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            return super().prepare(waveform, activity)

        def embed(self, prepared: Any) -> Any:
            nonlocal waiting
            waiting -= len(prepared)
            return super().embed(prepared)

    monkeypatch.setattr(decode, "blocks", counted)
    model = Watched(block_s=4.0, batch_s=6.0)
    (found,) = embed_all(Windowed(model, ROWS), [clip])
    assert decoded == 40 * RATE
    assert len(found.windows) == 39
    assert most <= 3


def test_a_window_longer_than_the_model_takes_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a window of 61 s is longer than the 60 s"):
        windowed(MODEL, WindowRule(61, 30))


def test_a_manifest_of_generations_from_before_reads_as_whole_utterances(tmp_path: Path) -> None:
    embed_manifest(write_speakers(tmp_path / "audio", 1, 1), tmp_path / "store", MODEL)
    generation = require_latest(tmp_path / "store")
    assert '"windows"' not in generation.to_json()
    assert Generation.from_json(generation.to_json(), where="").windows is None


def test_shards_from_before_there_were_windows_have_offsets_of_0(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    embed_manifest(write_speakers(tmp_path / "audio", 2, 2), folder, MODEL)
    generation = require_latest(folder)
    before = content(folder)
    (shard,) = generation.shards
    table = pq.ParquetFile(folder / shard.file).read().drop_columns(["offset_s"])
    pq.write_table(table, folder / "embeddings" / "part-00000-01d.parquet")
    digest = hashlib.sha256((folder / "embeddings" / "part-00000-01d.parquet").read_bytes()).hexdigest()
    commit(
        folder, generation.successor(shards=(replace(shard, file="embeddings/part-00000-01d.parquet", sha256=digest),))
    )
    assert content(folder) == before
    build_index(folder)
    erase(folder, "speaker-000")
    assert [row["offset_s"] for row in require_whole(folder).rows] == [0.0, 0.0]
