"""Enrolments sealed at rest: found, counted and erased like plain ones, and nothing to be read without the key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("cryptography")

from tests.store.rows import DIM, FINGERPRINT
from tests.store.test_enrolments import enrolment
from vecsv.errors import FingerprintMismatchError, StoreBusyError, StoreError, UsageError, VecsvError
from vecsv.store import enrolments
from vecsv.store.sealing import BrokenSealError, EnrolmentKey, RowIdentity, Sealer, make_key_file, read_key_file

PERSON = "unmistakable-person"
VARIABLE = "VECSV_ENROLMENT_KEY_FILE"


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key, in use."""
    path = tmp_path / "enrolment.key"
    make_key_file(path)
    monkeypatch.setenv(VARIABLE, str(path))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def secrets_of(one: enrolments.Enrolment) -> list[bytes]:
    """What no file may hold of an enrolment."""
    texts = (one.speaker, one.utt_id, one.path, one.audio_sha256)
    vector = one.embedding.tobytes()
    return [*(text.encode() for text in texts), bytes.fromhex(one.audio_sha256), vector, vector[:12], vector[-12:]]


def readable(folder: Path, given: list[enrolments.Enrolment]) -> list[bytes]:
    """What of the enrolments can be found in the bytes of any file of a store."""
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    return [secret for one in given for secret in secrets_of(one) if secret in content]


def people() -> list[enrolments.Enrolment]:
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(4)]
    names = [PERSON, "second-somebody", PERSON, "Zoë Quäckenbush"]
    return [
        enrolment(number, name, audio_sha256=digest)
        for number, (name, digest) in enumerate(zip(names, digests, strict=True))
    ]


class TestKeyFile:
    def test_a_new_key_is_for_its_owner_alone_and_never_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        make_key_file(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(base64.b64decode(path.read_bytes())) == 32
        before = path.read_bytes()
        with pytest.raises(UsageError, match="there already"):
            make_key_file(path)
        assert path.read_bytes() == before
        make_key_file(tmp_path / "other")
        assert (tmp_path / "other").read_bytes() != before

    @pytest.mark.parametrize("mode", [0o604, 0o602, 0o644])
    def test_a_key_that_everybody_may_touch_is_refused(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "key"
        make_key_file(path)
        path.chmod(mode)
        with pytest.raises(UsageError, match=rf"key: .* everybody .*{mode:04o}.* \(chmod 600"):
            read_key_file(path)
        path.chmod(0o640)
        assert len(read_key_file(path).secret) == 32

    @pytest.mark.parametrize(
        "content", [b"", b"hello", base64.b64encode(bytes(31)), base64.b64encode(bytes(33)), bytes(32), b"\xff" * 44]
    )
    def test_what_is_no_key_is_refused_in_one_line(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "key"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(UsageError, match="not a key: 32 bytes in base64 are due") as refused:
            read_key_file(path)
        assert "\n" not in str(refused.value)

    def test_a_key_does_not_show_itself(self, key_file: Path) -> None:
        key = read_key_file(key_file)
        assert repr(key.secret) not in repr(key)
        assert key.secret.hex() not in repr(key)


class TestSealer:
    KEY = EnrolmentKey(bytes(range(32)), Path("key"))
    ROW = RowIdentity(FINGERPRINT, b"s" * 32, b"r" * 32)

    @given(st.binary(max_size=300), st.sampled_from(["speaker", "embedding"]))
    def test_what_was_sealed_opens_and_never_looks_the_same_twice(self, value: bytes, column: str) -> None:
        sealer = Sealer(self.KEY, b"salt" * 4)
        first, second = sealer.seal(value, column, self.ROW), sealer.seal(value, column, self.ROW)
        assert first != second
        assert sealer.open(first, column, self.ROW) == sealer.open(second, column, self.ROW) == value

    @pytest.mark.parametrize(
        ("column", "row"),
        [
            ("path", ROW),
            ("speaker", RowIdentity("cd" * 32, b"s" * 32, b"r" * 32)),
            ("speaker", RowIdentity(FINGERPRINT, b"t" * 32, b"r" * 32)),
            ("speaker", RowIdentity(FINGERPRINT, b"s" * 32, b"q" * 32)),
            ("speaker", RowIdentity(FINGERPRINT, b"s" * 31, b"s" + b"r" * 32)),
        ],
    )
    def test_a_cell_opens_nowhere_else(self, column: str, row: RowIdentity) -> None:
        sealer = Sealer(self.KEY, b"salt" * 4)
        cell = sealer.seal(b"ann", "speaker", self.ROW)
        with pytest.raises(BrokenSealError, match=f"a sealed {column} does not open"):
            sealer.open(cell, column, row)

    def test_no_changed_bit_goes_unnoticed(self) -> None:
        sealer = Sealer(self.KEY, b"salt" * 4)
        cell = sealer.seal(b"ann", "speaker", self.ROW)
        for place in range(len(cell)):
            with pytest.raises(BrokenSealError):
                sealer.open(cell[:place] + bytes([cell[place] ^ 1]) + cell[place + 1 :], "speaker", self.ROW)
        for length in (0, 5, 12, 27, len(cell) - 1):
            with pytest.raises(BrokenSealError):
                sealer.open(cell[:length], "speaker", self.ROW)

    def test_another_database_has_other_keys_and_other_tags(self) -> None:
        one, other = Sealer(self.KEY, b"salt" * 4), Sealer(self.KEY, b"tlas" * 4)
        assert one.speaker_tag("ann") != other.speaker_tag("ann")
        assert one.check != other.check
        with pytest.raises(BrokenSealError):
            other.open(one.seal(b"ann", "speaker", self.ROW), "speaker", self.ROW)

    def test_tags_are_hmacs_under_a_key_from_hkdf(self) -> None:
        # RFC 5869, by hand.
        extracted = hmac.digest(b"salt" * 4, self.KEY.secret, "sha256")
        finding = hmac.digest(extracted, b"vecsv enrolments 1 find\x01", "sha256")
        expected = hmac.digest(finding, b"\0\0\0\x07speaker\0\0\0\x03ann", "sha256")
        assert Sealer(self.KEY, b"salt" * 4).speaker_tag("ann") == expected

    def test_tags_tell_what_is_different_apart(self) -> None:
        sealer = Sealer(self.KEY, b"salt" * 4)
        tags = [
            sealer.speaker_tag("ann"),
            sealer.speaker_tag("Ann"),
            *(sealer.recording_tag(*what) for what in (("a", "bc", 0), ("ab", "c", 0), ("a", "bc", 1), ("a", "b", 0))),
        ]
        assert len(set(tags)) == len(tags)
        assert {len(tag) for tag in tags} == {32}


class TestSealedStore:
    def test_enrolments_come_back_as_plain_ones_do(self, store: Path, key_file: Path, tmp_path: Path) -> None:
        given = people()
        assert enrolments.add(store, FINGERPRINT, given) == 4
        assert enrolments.add(store, FINGERPRINT, given[:1]) == 0
        assert enrolments.add(store, FINGERPRINT, [enrolment(0, PERSON, channel=2)]) == 1
        found = enrolments.read(store, DIM)
        assert found.row_ids.tolist()[:4] == [-2, -3, -4, -5]
        assert found.speakers[:4] == tuple(one.speaker for one in given)
        assert found.utt_ids[:4] == tuple(one.utt_id for one in given)
        assert found.paths[:4] == tuple(one.path for one in given)
        assert np.array_equal(found.vectors[:4], np.stack([one.embedding for one in given]))
        assert enrolments.count(store, PERSON) == 3
        assert enrolments.read(store, DIM, speaker="Zoë Quäckenbush").speakers == ("Zoë Quäckenbush",)
        assert enrolments.count(store, "nobody") == 0
        with pytest.raises(FingerprintMismatchError):
            enrolments.add(store, "cd" * 32, [enrolment(9)])

    def test_no_file_of_the_store_holds_anything_in_the_clear(self, store: Path, key_file: Path) -> None:
        given = people()
        with closing(sqlite3.connect(store / enrolments.FILE)) as reader:
            # Somebody reading keeps the write-ahead log in place, so that it is looked through too.
            reader.execute("PRAGMA journal_mode = WAL")
            reader.execute("SELECT 1 FROM sqlite_master").fetchall()
            enrolments.add(store, FINGERPRINT, given)
            assert (store / f"{enrolments.FILE}-wal").stat().st_size > 0
            assert readable(store, given) == []

    def test_the_same_search_finds_all_of_it_in_a_plain_store(self, store: Path) -> None:
        given = people()
        enrolments.add(store, FINGERPRINT, given)
        expected = [secret for one in given for secret in secrets_of(one)]
        # All but the digest as bytes, which a plain store keeps as text.
        assert len(readable(store, given)) == len(expected) - len(given)

    def test_erasing_takes_every_trace_and_gives_no_id_again(self, store: Path, key_file: Path) -> None:
        enrolments.add(store, FINGERPRINT, people())
        with closing(sqlite3.connect(store / enrolments.FILE)) as connection:
            gone = connection.execute("SELECT speaker_tag, embedding, speaker FROM enrolments WHERE id = 1").fetchone()
        assert enrolments.remove(store, PERSON) == 2
        assert enrolments.count(store, PERSON) == 0
        content = b"".join(path.read_bytes() for path in store.iterdir())
        assert [cell for cell in gone if cell in content] == []
        enrolments.add(store, FINGERPRINT, [enrolment(7, "cem")])
        assert enrolments.read(store, DIM).row_ids.tolist() == [-3, -5, -6]

    @pytest.mark.parametrize(
        "call",
        [
            lambda folder: enrolments.read(folder, DIM),
            lambda folder: enrolments.count(folder, PERSON),
            lambda folder: enrolments.add(folder, FINGERPRINT, [enrolment(9)]),
            lambda folder: enrolments.remove(folder, PERSON),
            enrolments.require_usable,
        ],
        ids=["read", "count", "add", "remove", "require_usable"],
    )
    def test_without_the_key_or_with_another_everything_is_refused_in_one_line(
        self,
        store: Path,
        key_file: Path,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        call: Callable[[Path], object],
    ) -> None:
        enrolments.add(store, FINGERPRINT, people())

        def refused() -> str:
            with pytest.raises(VecsvError) as error:
                call(store)
            assert "\n" not in str(error.value)
            return str(error.value)

        monkeypatch.delenv(VARIABLE)
        assert "enrolments.sqlite: the enrolments are sealed, and no key is given (set VECSV_" in refused()
        make_key_file(tmp_path / "other")
        monkeypatch.setenv(VARIABLE, str(tmp_path / "other"))
        assert f"sealed with another key than that of {tmp_path / 'other'}" in refused()
        monkeypatch.setenv(VARIABLE, str(tmp_path / "absent"))
        assert "absent: the enrolments' key is not there (make one" in refused()
        monkeypatch.setenv(VARIABLE, str(key_file))
        assert enrolments.read(store, DIM).speakers == tuple(one.speaker for one in people())
        call(store)

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE enrolments SET embedding = (SELECT embedding FROM enrolments WHERE id = 2) WHERE id = 1",
            "UPDATE enrolments SET speaker_tag = (SELECT speaker_tag FROM enrolments WHERE id = 2) WHERE id = 1",
            "UPDATE enrolments SET speaker = utt_id",
            f"UPDATE enrolments SET fingerprint = '{'cd' * 32}'",
            "UPDATE enrolments SET path = 'text'",
            "UPDATE enrolments SET embedding = x'00'",
        ],
    )
    def test_a_row_that_was_tampered_with_is_damage(self, store: Path, key_file: Path, change: str) -> None:
        enrolments.add(store, FINGERPRINT, people())
        with closing(sqlite3.connect(store / enrolments.FILE)) as connection, connection:
            connection.execute(change)
        with pytest.raises(StoreError, match=r"enrolments\.sqlite: damaged: a sealed \w+ does not open"):
            enrolments.read(store, DIM)

    def test_two_stores_share_a_key_but_no_row_can_be_carried_over(
        self, store: Path, key_file: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "other-store"
        other.mkdir()
        for folder in (store, other):
            enrolments.add(folder, FINGERPRINT, people()[:1])
        with closing(sqlite3.connect(store / enrolments.FILE)) as connection, connection:
            connection.execute("ATTACH ? AS other", (str(other / enrolments.FILE),))
            connection.execute("DELETE FROM enrolments")
            connection.execute("INSERT INTO enrolments SELECT * FROM other.enrolments")
        with pytest.raises(StoreError, match="does not open"):
            enrolments.read(store, DIM)

    def test_a_plain_store_is_read_whatever_key_is_given_but_not_added_to(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        enrolments.add(store, FINGERPRINT, people())
        enrolments.require_usable(store)
        make_key_file(tmp_path / "key")
        monkeypatch.setenv(VARIABLE, str(tmp_path / "key"))
        assert enrolments.read(store, DIM).speakers[0] == PERSON
        for call in (
            lambda: enrolments.add(store, FINGERPRINT, [enrolment(9)]),
            lambda: enrolments.require_usable(store),
        ):
            with pytest.raises(StoreError, match=r"not sealed yet \(seal them: vecsv keys seal-enrolments --store"):
                call()
        assert enrolments.count(store, "ann") == 0
        assert enrolments.remove(store, PERSON) == 2


class TestConversion:
    def test_a_plain_store_is_sealed_with_ids_kept_and_nothing_plain_left(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = people()
        enrolments.add(store, FINGERPRINT, [*given, enrolment(5, "eve")])
        enrolments.remove(store, "eve")
        before = enrolments.read(store, DIM)
        assert len(readable(store, given)) > 0
        make_key_file(tmp_path / "key")
        monkeypatch.setenv(VARIABLE, str(tmp_path / "key"))
        assert enrolments.seal(store) == 4
        assert readable(store, given) == []
        after = enrolments.read(store, DIM)
        assert np.array_equal(after.row_ids, before.row_ids)
        assert np.array_equal(after.vectors, before.vectors)
        assert (after.speakers, after.utt_ids, after.paths) == (before.speakers, before.utt_ids, before.paths)
        assert after.speech_s == before.speech_s
        assert enrolments.add(store, FINGERPRINT, [enrolment(6, "fay")]) == 1
        assert enrolments.read(store, DIM, speaker="fay").row_ids.tolist() == [-7]
        assert enrolments.add(store, FINGERPRINT, given) == 0
        assert enrolments.seal(store) == 0

    def test_sealing_needs_a_key_and_a_store_without_enrolments_needs_nothing(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(UsageError, match=r"no key is given \(vecsv keys enrolment-key FILE makes one"):
            enrolments.seal(store)
        make_key_file(tmp_path / "key")
        monkeypatch.setenv(VARIABLE, str(tmp_path / "key"))
        assert enrolments.seal(store) == 0
        assert list(store.iterdir()) == []

    def test_a_conversion_cut_off_before_the_file_was_rebuilt_is_completed_by_the_next_enrolment(
        self, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = people()
        enrolments.add(store, FINGERPRINT, given)
        make_key_file(tmp_path / "key")
        monkeypatch.setenv(VARIABLE, str(tmp_path / "key"))
        monkeypatch.setattr("vecsv.store.enrolments._BUSY_SECONDS", 0.1)
        with closing(sqlite3.connect(store / enrolments.FILE, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM enrolments").fetchone()
            with pytest.raises(StoreBusyError, match="run the same command again"):
                enrolments.seal(store)
            # Sealed already for everybody who opens it now; the reader's old state is still in the files.
            assert enrolments.read(store, DIM).speakers[0] == PERSON
            assert enrolments.add(store, FINGERPRINT, [enrolment(8, "gil")]) == 1
            # What a power cut would leave now.
            left = Path(shutil.copytree(store, tmp_path / "left"))
        assert len(readable(left, given)) > 0
        assert enrolments.add(left, FINGERPRINT, [enrolment(9, "hal")]) == 1
        assert readable(left, given) == []
        with closing(sqlite3.connect(left / enrolments.FILE)) as connection:
            assert connection.execute("SELECT plain_left FROM sealing").fetchall() == [(0,)]
        assert enrolments.read(left, DIM).speakers == (*(one.speaker for one in given), "gil", "hal")


def test_plain_enrolments_load_no_cryptography(store: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from vecsv.store import enrolments; from tests.store.test_enrolments import enrolment, FINGERPRINT, DIM\n"
        "enrolments.add(Path(sys.argv[1]), FINGERPRINT, [enrolment(0)])\n"
        "print(enrolments.read(Path(sys.argv[1]), DIM).speakers, 'cryptography' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(store)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "('ann',) False\n", done.stderr
