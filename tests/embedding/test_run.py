from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import write_speakers
from vecsv.audio.decode import sha256
from vecsv.embedding.run import EmbedSettings, EmbedSummary, embed_manifest
from vecsv.errors import FingerprintMismatchError, ManifestError, UsageError
from vecsv.store.generation import require_latest
from vecsv.store.parts import failed_rows
from vecsv.store.reader import Snapshot
from vecsv.store.schema import DESCRIPTION

MODEL = SpectralEmbedder()


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_speakers(tmp_path / "audio", 3, 4)


def content(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = Snapshot.open(folder).table([*DESCRIPTION, "embedding"]).to_pylist()
    return rows


def test_every_row_of_the_manifest_becomes_a_row_of_the_store_in_order(manifest: Path, tmp_path: Path) -> None:
    summary = embed_manifest(manifest, tmp_path / "store", MODEL)
    assert (summary.rows, summary.embedded, summary.failed) == (12, 12, 0)
    assert summary.audio_s == pytest.approx(12.0)
    rows = content(tmp_path / "store")
    written = [line.split("\t") for line in manifest.read_text().splitlines()]
    assert [[row["utt_id"], row["speaker"]] for row in rows] == written
    assert [row["row_id"] for row in rows] == list(range(12))
    for row, (path, _) in zip(rows, written, strict=True):
        assert row["path"] == str((manifest.parent / path).resolve())
        assert row["audio_sha256"] == sha256(manifest.parent / path)
        assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-6)  # type: ignore[arg-type]


def test_optional_columns_and_others_are_kept(manifest: Path, tmp_path: Path) -> None:
    header = "path\tspeaker\tutt_id\tsession\tchannel\tstart_s\tend_s\tdevice\n"
    manifest.write_text(header + "speaker-000/000.wav\tann\tu1\tmonday\t1\t0.25\t0.75\tphone\n")
    embed_manifest(manifest, tmp_path / "store", MODEL)
    (row,) = content(tmp_path / "store")
    assert (row["utt_id"], row["speaker"], row["session"], row["channel"]) == ("u1", "ann", "monday", 1)
    assert (row["start_s"], row["end_s"], row["duration_s"]) == (0.25, 0.75, 0.5)
    assert row["extra"] == [("device", "phone")]


def test_workers_and_shard_size_change_nothing_but_the_files(manifest: Path, tmp_path: Path) -> None:
    embed_manifest(manifest, tmp_path / "a", MODEL, EmbedSettings(workers=1))
    embed_manifest(manifest, tmp_path / "b", MODEL, EmbedSettings(workers=4, rows_per_shard=1, seconds_per_commit=0))
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_a_second_run_embeds_nothing_again(manifest: Path, tmp_path: Path) -> None:
    embed_manifest(manifest, tmp_path / "store", MODEL)
    before = require_latest(tmp_path / "store")
    again = embed_manifest(manifest, tmp_path / "store", MODEL)
    assert (again.embedded, again.embedded_before) == (0, 12)
    assert require_latest(tmp_path / "store").shards == before.shards


def test_a_second_manifest_goes_on_counting_row_ids(manifest: Path, tmp_path: Path) -> None:
    embed_manifest(manifest, tmp_path / "store", MODEL)
    more = write_speakers(tmp_path / "more", ["zoe"], 2)
    embed_manifest(more, tmp_path / "store", MODEL)
    assert [row["row_id"] for row in content(tmp_path / "store")] == list(range(14))


def test_failures_stand_in_the_ledger_with_line_and_reason_and_are_not_tried_again(
    manifest: Path, tmp_path: Path
) -> None:
    manifest.write_text(manifest.read_text() + "absent.wav\tann\nonly-one-column\n")
    summary = embed_manifest(manifest, tmp_path / "store", MODEL)
    assert (summary.embedded, summary.failed) == (12, 2)
    ledger = failed_rows(Snapshot.open(tmp_path / "store").failures())
    assert [(row.line, row.code) for row in ledger] == [(13, "missing"), (14, "bad-row")]
    assert list(summary.failures) == ledger
    again = embed_manifest(manifest, tmp_path / "store", MODEL)
    assert (again.failed, again.failed_before, again.embedded_before) == (0, 2, 12)


def test_failed_rows_are_embedded_once_mended_and_leave_the_ledger(manifest: Path, tmp_path: Path) -> None:
    manifest.write_text(manifest.read_text() + "late.wav\tspeaker-000\n")
    embed_manifest(manifest, tmp_path / "store", MODEL)
    (manifest.parent / "late.wav").write_bytes((manifest.parent / "speaker-000" / "000.wav").read_bytes())
    summary = embed_manifest(manifest, tmp_path / "store", MODEL, EmbedSettings(retry_failed=True))
    assert (summary.embedded, summary.failed, summary.failed_before) == (1, 0, 0)
    assert Snapshot.open(tmp_path / "store").failures().num_rows == 0


def test_another_model_is_refused(manifest: Path, tmp_path: Path) -> None:
    embed_manifest(manifest, tmp_path / "store", MODEL)
    with pytest.raises(FingerprintMismatchError):
        embed_manifest(manifest, tmp_path / "store", SpectralEmbedder(seed=1))


def test_a_corpus_that_moved_is_known_again_by_its_bytes(manifest: Path, tmp_path: Path) -> None:
    embed_manifest(manifest, tmp_path / "store", MODEL)
    manifest.parent.rename(tmp_path / "moved")
    summary = embed_manifest(tmp_path / "moved" / manifest.name, tmp_path / "store", MODEL)
    assert (summary.embedded, summary.failed, summary.embedded_before) == (0, 0, 12)


def test_an_id_that_means_another_recording_elsewhere_is_refused(manifest: Path, tmp_path: Path) -> None:
    embed_manifest(manifest, tmp_path / "store", MODEL)
    other = write_speakers(tmp_path / "other", 3, 4, seed=5)
    summary = embed_manifest(other, tmp_path / "store", MODEL)
    assert (summary.embedded, summary.failed) == (0, 12)
    assert {row.code for row in summary.failures} == {"claimed"}


def test_progress_counts_every_row_once(manifest: Path, tmp_path: Path) -> None:
    seen: list[EmbedSummary] = []
    embed_manifest(manifest, tmp_path / "store", MODEL, progress=seen.append)
    assert seen[-1].settled == seen[-1].rows == 12


def test_an_interrupted_run_keeps_what_was_finished(manifest: Path, tmp_path: Path) -> None:
    def stop(_: EmbedSummary) -> None:
        raise KeyboardInterrupt

    big = write_speakers(tmp_path / "big", 4, 12)
    with pytest.raises(KeyboardInterrupt):
        embed_manifest(big, tmp_path / "store", MODEL, progress=stop)
    kept = require_latest(tmp_path / "store").rows
    assert 0 < kept < 48
    assert embed_manifest(big, tmp_path / "store", MODEL).embedded == 48 - kept


def test_a_channel_is_taken_for_rows_that_name_none(manifest: Path, tmp_path: Path) -> None:
    summary = embed_manifest(manifest, tmp_path / "store", MODEL, EmbedSettings(channel=2))
    assert summary.failed == 12
    assert {row.code for row in summary.failures} == {"bad-channel"}


def test_a_missing_manifest_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(ManifestError):
        embed_manifest(tmp_path / "absent.tsv", tmp_path / "store", MODEL)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("bad", [{"workers": -1}, {"rows_per_shard": 0}, {"channel": 0}, {"seconds_per_commit": -1}])
def test_settings_out_of_range_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        EmbedSettings(**bad)  # type: ignore[arg-type]
