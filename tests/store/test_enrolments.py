import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.store.rows import DIM, FINGERPRINT, unit_vectors
from vecsv.errors import FingerprintMismatchError, StoreError
from vecsv.store import enrolments
from vecsv.store.enrolments import Enrolment


def enrolment(number: int, speaker: str = "ann", **changes: object) -> Enrolment:
    values: dict[str, object] = {
        "speaker": speaker,
        "utt_id": f"{speaker}-{number}.wav",
        "path": f"/audio/{speaker}-{number}.wav",
        "channel": None,
        "duration_s": 4.0,
        "speech_s": 3.0,
        "snr_db": None,
        "clipped": 0.0,
        "audio_sha256": f"{number:064x}",
        "embedding": unit_vectors(1, seed=number)[0],
    }
    return Enrolment(**(values | changes))  # type: ignore[arg-type]


def test_enrolments_come_back_with_negative_ids_that_are_never_minus_one(tmp_path: Path) -> None:
    given = [enrolment(0), enrolment(1, "ben")]
    assert enrolments.add(tmp_path, FINGERPRINT, given) == 2
    found = enrolments.read(tmp_path, DIM)
    assert found.row_ids.tolist() == [-2, -3]
    assert (found.speakers, found.utt_ids) == (("ann", "ben"), ("ann-0.wav", "ben-1.wav"))
    assert np.array_equal(found.vectors, np.stack([one.embedding for one in given]))


def test_a_recording_enrolled_twice_is_one_enrolment(tmp_path: Path) -> None:
    assert enrolments.add(tmp_path, FINGERPRINT, [enrolment(0), enrolment(1)]) == 2
    assert enrolments.add(tmp_path, FINGERPRINT, [enrolment(0), enrolment(2)]) == 1
    assert enrolments.count(tmp_path, "ann") == 3


def test_two_channels_of_one_recording_are_two_enrolments(tmp_path: Path) -> None:
    assert enrolments.add(tmp_path, FINGERPRINT, [enrolment(0, channel=1), enrolment(0, channel=2)]) == 2


def test_all_recordings_are_enrolled_or_none(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        enrolments.add(tmp_path, FINGERPRINT, [enrolment(0), enrolment(1, path=None)])
    assert enrolments.count(tmp_path, "ann") == 0


def test_another_models_enrolments_are_refused(tmp_path: Path) -> None:
    enrolments.add(tmp_path, FINGERPRINT, [enrolment(0)])
    with pytest.raises(FingerprintMismatchError, match="cannot be compared"):
        enrolments.add(tmp_path, "cd" * 32, [enrolment(1)])


def test_one_speaker_can_be_read_alone(tmp_path: Path) -> None:
    enrolments.add(tmp_path, FINGERPRINT, [enrolment(0), enrolment(1, "ben")])
    assert enrolments.read(tmp_path, DIM, speaker="ben").speakers == ("ben",)


def test_reading_where_nobody_was_enrolled_makes_no_file(tmp_path: Path) -> None:
    assert enrolments.read(tmp_path, DIM).vectors.shape == (0, DIM)
    assert list(tmp_path.iterdir()) == []


def test_a_removed_speaker_leaves_no_byte_behind_and_no_id_is_given_again(tmp_path: Path) -> None:
    enrolments.add(tmp_path, FINGERPRINT, [enrolment(0, "unmistakable-person"), enrolment(1, "ben")])
    assert enrolments.remove(tmp_path, "unmistakable-person") == 1
    for path in tmp_path.iterdir():
        assert b"unmistakable" not in path.read_bytes()
    enrolments.add(tmp_path, FINGERPRINT, [enrolment(7, "cem")])
    assert enrolments.read(tmp_path, DIM).row_ids.tolist() == [-3, -4]


def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / enrolments.FILE).write_bytes(b"not a database, whatever its name says" * 100)
    with pytest.raises(StoreError, match=r"enrolments\.sqlite: damaged"):
        enrolments.read(tmp_path, DIM)


def test_the_database_can_be_read_with_plain_sqlite(tmp_path: Path) -> None:
    enrolments.add(tmp_path, FINGERPRINT, [enrolment(0)])
    with sqlite3.connect(tmp_path / enrolments.FILE) as connection:
        (blob,) = connection.execute("SELECT embedding FROM enrolments").fetchone()
    assert np.array_equal(np.frombuffer(blob, "<f4"), enrolment(0).embedding)


def test_a_store_that_cannot_be_written_can_still_be_read() -> None:
    script = (
        "import os, sys, urllib.parse; from pathlib import Path\n"
        "from vecsv.store import enrolments\n"
        "os.getuid() or (os.setgid(65534), os.setuid(65534))\n"
        f"print(enrolments.read(Path(sys.argv[1]), {DIM}).speakers)\n"
    )
    # Not in pytest's folder, which nobody but its owner may enter: root reads the store as nobody.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        enrolments.add(folder, FINGERPRINT, [enrolment(0)])
        folder.chmod(0o555)
        try:
            done = subprocess.run(
                [sys.executable, "-c", script, name], capture_output=True, text=True, check=False, cwd="/"
            )
        finally:
            folder.chmod(0o755)
    assert done.stdout == "('ann',)\n", done.stderr
