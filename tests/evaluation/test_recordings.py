import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.conftest import Embedded
from tests.fixtures.embedders import SpectralEmbedder
from vecsv.audio.windows import Kept, WindowRule
from vecsv.embedding.run import EmbedSettings, embed_manifest
from vecsv.errors import ManifestError
from vecsv.evaluation.recordings import find_recordings, recordings_of, rows_of
from vecsv.store.reader import Snapshot

ONE, TWO = "speaker-000/000.wav", "speaker-001/003.wav"


def test_without_a_manifest_a_name_is_a_file_below_the_root(tmp_path: Path) -> None:
    one, two = find_recordings(["a/../b.wav", "/speech/c.wav"], root=tmp_path)
    assert (one.clip.path, two.clip.path) == (tmp_path / "b.wav", Path("/speech/c.wav"))
    assert (one.speaker, dict(one.columns), one.vector) == (None, {}, None)


def test_a_manifest_says_who_speaks_and_all_its_columns(corpus: Path) -> None:
    (found,) = find_recordings([TWO], root=corpus, manifest=corpus / "train.tsv")
    assert found.speaker == "speaker-001"
    assert found.columns == {"speaker": "speaker-001", "session": "speaker-001-1", "device": "headset"}


def test_a_row_is_found_by_its_path_from_wherever_the_list_lies(corpus: Path, tmp_path: Path) -> None:
    name = f"{corpus}/{ONE}"
    assert find_recordings([name], root=tmp_path, manifest=corpus / "train.tsv")[0].speaker == "speaker-000"
    (found,) = find_recordings([f"../{ONE}"], root=corpus / "speaker-001", manifest=corpus / "train.tsv")
    assert found.speaker == "speaker-000"


def test_an_id_stands_for_its_cut(tmp_path: Path) -> None:
    manifest = tmp_path / "cuts.tsv"
    manifest.write_text("path\tspeaker\tutt_id\tchannel\tstart_s\tend_s\na.wav\tann\tturn-1\t2\t0.5\t2\n")
    (found,) = find_recordings(["turn-1"], root=tmp_path, manifest=manifest)
    assert (found.clip.path, found.clip.channel, found.clip.start_s, found.clip.end_s) == (
        tmp_path / "a.wav",
        2,
        0.5,
        2,
    )
    # The file is more than the cut, so its path does not stand for it.
    assert find_recordings(["a.wav"], root=tmp_path, manifest=manifest)[0].speaker is None


def test_a_name_that_two_rows_claim_is_an_error_with_both_lines(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a.wav\tann\nb.wav\tbob\na.wav\tbob\n")
    with pytest.raises(ManifestError, match=r"train\.tsv, line 3: .*line 1"):
        find_recordings(["a.wav"], root=tmp_path, manifest=tmp_path / "train.tsv")
    assert find_recordings(["b.wav"], root=tmp_path, manifest=tmp_path / "train.tsv")[0].speaker == "bob"


def test_a_bad_row_of_the_manifest_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a.wav\tann\nalone\n")
    with pytest.raises(ManifestError, match=r"train\.tsv, line 2"):
        find_recordings(["a.wav"], root=tmp_path, manifest=tmp_path / "train.tsv")


def test_the_store_gives_embedding_speaker_and_columns(corpus: Path, store: Path, embedded: Embedded) -> None:
    one, two = find_recordings([TWO, "absent.wav"], root=corpus, store=Snapshot.open(store))
    assert one.vector is not None
    np.testing.assert_array_equal(one.vector, embedded[TWO])
    assert (one.speaker, one.columns["device"]) == ("speaker-001", "headset")
    assert two.vector is None


def test_the_store_is_asked_by_path_too(corpus: Path, store: Path, tmp_path: Path, embedded: Embedded) -> None:
    (found,) = find_recordings([f"{corpus}/{ONE}"], root=tmp_path, store=Snapshot.open(store))
    assert found.vector is not None
    np.testing.assert_array_equal(found.vector, embedded[ONE])


def test_an_id_is_enough_where_the_file_is_gone(store: Path, tmp_path: Path) -> None:
    assert find_recordings([ONE], root=tmp_path, store=Snapshot.open(store))[0].vector is not None


def test_a_recording_that_moved_is_recognised_by_its_bytes(corpus: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / ONE).parent.mkdir()
    shutil.copy(corpus / ONE, tmp_path / ONE)
    assert find_recordings([ONE], root=tmp_path, store=Snapshot.open(store))[0].vector is not None


def test_another_recording_of_the_same_name_is_not_the_stores(corpus: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / ONE).parent.mkdir()
    shutil.copy(corpus / TWO, tmp_path / ONE)
    (found,) = find_recordings([ONE], root=tmp_path, store=Snapshot.open(store))
    assert (found.vector, found.speaker) == (None, None)


def test_another_cut_of_the_recording_is_not_the_stores(corpus: Path, store: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "cuts.tsv"
    manifest.write_text(f"path\tspeaker\tutt_id\tend_s\n{corpus}/{ONE}\tspeaker-000\t{ONE}\t0.5\n")
    (found,) = find_recordings([ONE], root=tmp_path, manifest=manifest, store=Snapshot.open(store))
    assert found.vector is None
    (row,) = rows_of(manifest)
    assert recordings_of([row], store=Snapshot.open(store))[0].vector is None


def test_rows_of_a_manifest_take_the_stores_embeddings(corpus: Path, store: Path, embedded: Embedded) -> None:
    rows = list(rows_of(corpus / "train.tsv"))
    for recording in recordings_of(rows, store=Snapshot.open(store)):
        assert recording.vector is not None
        np.testing.assert_array_equal(recording.vector, embedded[recording.name])


def test_a_window_is_not_taken_for_its_recording(corpus: Path, tmp_path: Path) -> None:
    settings = EmbedSettings(windows=WindowRule(0.5, 0.5, Kept.ROWS))
    embed_manifest(corpus / "train.tsv", tmp_path / "store", SpectralEmbedder(), settings)
    (found,) = find_recordings([TWO], root=corpus, store=Snapshot.open(tmp_path / "store"))
    assert found.vector is None
    assert found.speaker == "speaker-001"
