from __future__ import annotations

from pathlib import Path

import pytest

from vecsv.errors import ManifestError
from vecsv.manifest import ManifestRow, read_manifest
from vecsv.training.reference import write_part


def rows(manifest: Path) -> list[ManifestRow]:
    found = list(read_manifest(manifest))
    good = [row for row in found if isinstance(row, ManifestRow)]
    assert len(good) == len(found)
    return good


def meaning(row: ManifestRow) -> tuple[object, ...]:
    return (row.utt_id, row.path, row.speaker, row.session, row.channel, row.start_s, row.end_s)


def test_the_rows_of_some_speakers_mean_the_same_in_a_manifest_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    manifest = tmp_path / "here" / "train.tsv"
    manifest.write_text(
        "utt_id\tpath\tspeaker\tsession\tchannel\tstart_s\tend_s\tcolour\n"
        "one\ta.wav\tann\ts1\t2\t0.1\t1.30000001\tred\n"
        "\tb.wav\tbob\t\t\t\t\t\n"
        "\tc d.wav\tann\t\t\t\t\tblue\n"
        f"\t{tmp_path}/e.wav\tzoë\t\t1\t3\t\t\n",
        encoding="utf-8",
    )
    part = write_part(manifest, {"ann", "zoë", "nobody"}, tmp_path / "run" / "dev.tsv")
    assert [meaning(row) for row in rows(part)] == [meaning(row) for row in rows(manifest) if row.speaker != "bob"]


def test_bad_rows_are_left_out(tmp_path: Path) -> None:
    manifest = tmp_path / "train.tsv"
    manifest.write_text("a.wav\tann\nb.wav\n\tann\n", encoding="utf-8")
    assert [row.speaker for row in rows(write_part(manifest, ["ann"], tmp_path / "dev.tsv"))] == ["ann"]


def test_a_manifest_that_is_not_there_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        write_part(tmp_path / "train.tsv", ["ann"], tmp_path / "dev.tsv")
    assert list(tmp_path.iterdir()) == []
