from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.fixtures.sounds import cut_in_half, noise, tone, write
from vecsv.audio import sndfile
from vecsv.errors import ManifestError, TrainingError
from vecsv.training.data.recordings import Corpus, Recording, read_corpus


def manifest_of(folder: Path, rows: list[str]) -> Path:
    manifest = folder / "train.tsv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def hundred(folder: Path) -> list[str]:
    """A hundred good rows of one file: each is a cut of its own."""
    write(folder / "long.wav", noise(100.0, 4000), 4000)
    return ["path\tspeaker\tstart_s\tend_s", *(f"long.wav\tspeaker{i % 7}\t{i}\t{i + 1}" for i in range(100))]


def test_recordings_are_told_by_their_headers_in_the_manifests_order(tmp_path: Path) -> None:
    write(tmp_path / "b.flac", noise(2.0, 44100), 44100)
    write(tmp_path / "a.wav", np.stack([noise(3.0), tone(3.0)], axis=1))
    rows = ["path\tspeaker\tutt_id\tchannel\tstart_s\tend_s", "b.flac\tzoe\tfirst\t\t0.25\t", "a.wav\tann\t\t2\t\t1.5"]

    corpus = read_corpus(manifest_of(tmp_path, rows), sample_rate=16000, min_s=0.5)

    folder = tmp_path.resolve()
    assert corpus.recordings == (
        Recording("first", folder / "b.flac", None, "zoe", 44100, 11025, 88200, narrow=False),
        Recording("a.wav#t=,1.5#channel=2", folder / "a.wav", 2, "ann", 16000, 0, 24000, narrow=False),
    )
    assert corpus.speakers == ("ann", "zoe")
    assert corpus.duration_s == pytest.approx(1.75 + 1.5)
    assert (corpus.bad, corpus.short) == ((), ())


def test_nothing_is_decoded_of_a_file_whose_header_tells_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.wav", "a.flac", "a.ogg"):
        write(tmp_path / name, noise(1.0))
    manifest = manifest_of(tmp_path, ["a.wav\tann", "a.flac\tann", "a.ogg\tann"])

    def refuse(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(sndfile.SndfileSource, "chunks", refuse)

    assert [recording.duration_s for recording in read_corpus(manifest, sample_rate=16000, min_s=0.5).recordings] == [
        1.0,
        1.0,
        1.0,
    ]


def test_an_mp3_is_decoded_once_to_count_its_frames(tmp_path: Path) -> None:
    write(tmp_path / "a.mp3", noise(2.0))
    whole, _ = soundfile.read(tmp_path / "a.mp3")

    corpus = read_corpus(manifest_of(tmp_path, ["a.mp3\tann"]), sample_rate=16000, min_s=0.5)

    assert corpus.recordings[0].stop == len(whole)


def test_a_lower_sampling_rate_is_marked(tmp_path: Path) -> None:
    write(tmp_path / "telephone.wav", noise(1.0, 8000), 8000)
    write(tmp_path / "studio.wav", noise(1.0, 16000))
    manifest = manifest_of(tmp_path, ["telephone.wav\tann", "studio.wav\tann"])

    corpus = read_corpus(manifest, sample_rate=16000, min_s=0.5)

    assert [recording.narrow for recording in corpus.recordings] == [True, False]
    assert corpus.narrow == 1
    assert read_corpus(manifest, sample_rate=8000, min_s=0.5).narrow == 0


def test_short_recordings_are_refused_and_listed_but_are_no_bad_files(tmp_path: Path) -> None:
    for name, seconds in (("a", 0.5), ("b", 0.4999), ("c", 0.3), ("d", 0.2)):
        write(tmp_path / f"{name}.wav", noise(seconds, 16000))

    corpus = read_corpus(
        manifest_of(tmp_path, [f"{name}.wav\t{name}" for name in "abcd"]), sample_rate=16000, min_s=0.5, most_bad=0.0
    )

    assert corpus.speakers == ("a",)
    assert [(file.line, Path(file.path).name, file.reason) for file in corpus.short] == [
        (2, "b.wav", "0.499 s long, shorter than 0.5 s"),
        (3, "c.wav", "0.3 s long, shorter than 0.5 s"),
        (4, "d.wav", "0.2 s long, shorter than 0.5 s"),
    ]
    assert corpus.bad == ()


def test_a_cut_counts_with_its_own_length(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(5.0))
    rows = ["path\tspeaker\tstart_s\tend_s", "a.wav\tann\t1.0\t1.25", "a.wav\tann\t2\t3"]

    corpus = read_corpus(manifest_of(tmp_path, rows), sample_rate=16000, min_s=0.5)

    assert [(recording.start, recording.stop) for recording in corpus.recordings] == [(32000, 48000)]
    assert [file.line for file in corpus.short] == [2]


def test_one_bad_file_in_a_hundred_is_listed(tmp_path: Path) -> None:
    rows = hundred(tmp_path)
    rows[50] = "gone.wav\tann\t\t"

    corpus = read_corpus(manifest_of(tmp_path, rows), sample_rate=16000, min_s=0.5)

    assert len(corpus.recordings) == 99
    assert [(file.line, Path(file.path).name, file.reason) for file in corpus.bad] == [(51, "gone.wav", "no such file")]


def test_more_bad_files_than_one_in_a_hundred_are_an_error_that_names_some(tmp_path: Path) -> None:
    rows = hundred(tmp_path)
    for line in (11, 31, 51, 71, 91):
        rows[line - 1] = f"gone{line}.wav\tann\t\t"
    manifest = manifest_of(tmp_path, rows)

    with pytest.raises(TrainingError) as caught:
        read_corpus(manifest, sample_rate=16000, min_s=0.5)

    message = str(caught.value)
    assert message.startswith(f"{manifest}: 5 of 100 rows (5.0%) give no recording, at most 1% may: row 11, ")
    assert "gone31.wav: no such file" in message
    assert "gone71" not in message
    assert "and 2 more" in message
    assert "\n" not in message


def test_files_and_rows_are_bad_in_many_ways(tmp_path: Path) -> None:
    write(tmp_path / "good.wav", noise(1.0))
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is no sound at all\n" * 10)
    write(tmp_path / "slow.wav", noise(1.0, 500), 500)
    write(tmp_path / "silent.wav", np.zeros(0, np.float32))
    rows = [
        "path\tspeaker\tchannel\tstart_s\tend_s",
        "good.wav\tann\t\t\t",
        "good.wav\tann\t\t\t",
        "good.wav\tann\t2\t\t",
        "good.wav\tann\t\t3\t4",
        "good.wav\t\t\t\t",
        "empty.wav\tann\t\t\t",
        "text.wav\tann\t\t\t",
        "slow.wav\tann\t\t\t",
        "silent.wav\tann\t\t\t",
        ".\tann\t\t\t",
    ]

    corpus = read_corpus(manifest_of(tmp_path, rows), sample_rate=16000, min_s=0.5, most_bad=1.0)

    assert len(corpus.recordings) == 1
    assert [(file.line, file.reason) for file in corpus.bad] == [
        (3, 'a second recording of the name "good.wav", the first is in row 2'),
        (4, "has 1 channel, there is no channel 2"),
        (5, "the cut starts at 3 s, beyond the end of the recording at 1.00 s"),
        (6, "the speaker is empty"),
        (7, "the file is empty (0 bytes)"),
        (8, "is text, not audio"),
        (9, "no speech has a sampling rate of 500 Hz"),
        (10, "holds no samples"),
        (11, "is a folder, not a recording"),
    ]


def test_a_damaged_mp3_is_bad(tmp_path: Path) -> None:
    write(tmp_path / "good.mp3", noise(3.0))
    write(tmp_path / "half.mp3", noise(3.0))
    cut_in_half(tmp_path / "half.mp3")

    corpus = read_corpus(
        manifest_of(tmp_path, ["good.mp3\tann", "half.mp3\tann"]), sample_rate=16000, min_s=0.5, most_bad=1.0
    )

    assert [file.line for file in corpus.bad] == [2]


def test_nothing_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(0.3))

    with pytest.raises(TrainingError, match=r"no recording can be used: row 1, .*a\.wav: 0\.3 s long, shorter than"):
        read_corpus(manifest_of(tmp_path, ["a.wav\tann"]), sample_rate=16000, min_s=0.5)


def test_a_missing_manifest_is_an_error_of_the_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        read_corpus(tmp_path / "none.tsv", sample_rate=16000, min_s=0.5)


def test_progress_ends_with_the_number_of_rows(tmp_path: Path) -> None:
    seen: list[int] = []

    read_corpus(manifest_of(tmp_path, hundred(tmp_path)), sample_rate=4000, min_s=0.5, progress=seen.append)

    assert seen == [100]


def test_a_corpus_of_recordings_has_their_speakers_only() -> None:
    recordings = [Recording(name, Path(name), None, name, 16000, 0, 16000) for name in ("zoe", "ann", "zoe")]

    assert Corpus.of(recordings).speakers == ("ann", "zoe")
