"""`vecsv keys`: shown once, kept as hashes; and enrolments sealed and asked for through the command line."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from tests.cli.conftest import Run
from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.sounds import write
from tests.fixtures.stores import speak, traces, write_speakers
from vecsv.audio.decode import Clip
from vecsv.embedding.run import embed_manifest
from vecsv.query.enroll import enroll
from vecsv.query.erase import UNDER_WAY
from vecsv.serve.keys import KeyRing
from vecsv.store import enrolments

VARIABLE = "VECSV_ENROLMENT_KEY_FILE"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


class TestServiceKeys:
    def test_a_key_is_printed_alone_and_once(self, run: Run, file: Path) -> None:
        made = run("keys", "add", "reception", "--scope", "read", "--scope", "enrol", "--file", file, "--days", 30)
        assert made.code == 0
        found = KeyRing(file).find(made.out.removesuffix("\n"))
        assert found is not None
        assert (found.name, sorted(found.scopes)) == ("reception", ["enrol", "read"])
        assert found.expires is not None
        assert made.err == "vecsv: this is the key of reception; keep it, it is not shown again\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        listed = run("keys", "list", "--file", file)
        assert "reception" in listed.out and found.id in listed.out
        assert made.out.split("_")[2].strip() not in listed.out

    def test_json_has_stable_keys_and_no_digests(self, run: Run, file: Path) -> None:
        made = run("keys", "add", "chief", "--scope", "admin", "--file", file, "--json")
        assert set(made.json) == {"key", "id", "name", "scopes", "created", "expires"}
        (listed,) = run("keys", "list", "--file", file, "--json").json
        assert listed == {name: value for name, value in made.json.items() if name != "key"}
        assert listed["expires"] is None

    def test_a_removed_key_is_gone(self, run: Run, file: Path) -> None:
        key = run("keys", "add", "reception", "--scope", "read", "--file", file).out.strip()
        removed = run("keys", "remove", "reception", "--file", file, "--json")
        assert (removed.code, removed.json["removed"]) == (0, "reception")
        assert KeyRing(file).find(key) is None
        again = run("keys", "remove", "reception", "--file", file)
        assert again.code == 2
        assert again.err == f"vecsv: {file}: no key is called 'reception' (vecsv keys list shows them)\n"

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (["add", "a"], "a key needs a scope"),
            (["add", "a", "--scope", "all"], "no scope is called 'all'"),
            (["add", " ", "--scope", "read"], "1 to 100 printable characters"),
            (["add", "a", "--scope", "read", "--days", "0"], "more than 0"),
            (["list"], "the file of keys is not there"),
            (["remove", "a"], "the file of keys is not there"),
        ],
    )
    def test_mistakes_are_one_line(self, run: Run, file: Path, words: list[str], complaint: str) -> None:
        outcome = run("keys", *words, "--file", file)
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1
        assert complaint in outcome.err
        assert outcome.out == ""
        assert not file.exists()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of two embedded speakers, and of Zoë, who is only enrolled; read-only."""
    folder = tmp_path_factory.mktemp("plain")
    embed_manifest(write_speakers(folder / "corpus", ["ann", "ben"], 2), folder / "store", SpectralEmbedder())
    for take in range(2):
        recording = write(folder / "enrol" / f"zq-{take}.wav", speak("zoe", take))
        enroll(folder / "store", SpectralEmbedder(), "Zoë Quäckenbush", [Clip(recording)], [recording.name])
    return folder / "store"


class TestSealedEnrolments:
    @pytest.fixture
    def store(self, plain: Path, tmp_path: Path) -> Path:
        return Path(shutil.copytree(plain, tmp_path / "store"))

    def test_a_plain_store_is_sealed_and_nothing_of_it_can_be_read(
        self, run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        vectors = [vector.tobytes() for vector in enrolments.read(store, SpectralEmbedder().dim).vectors]
        words = ["Zoë Quäckenbush", "zq-0.wav", "zq-1.wav"]
        assert len(traces(store, words, vectors)) >= 5
        without = run("keys", "seal-enrolments", "--store", store)
        assert (without.code, without.err.count("\n")) == (2, 1)
        assert "no key is given (vecsv keys enrolment-key FILE makes one" in without.err

        made = run("keys", "enrolment-key", tmp_path / "enrolment.key")
        assert made.code == 0
        assert f"{VARIABLE}={tmp_path / 'enrolment.key'}" in made.err
        assert run("keys", "enrolment-key", tmp_path / "enrolment.key").code == 2
        monkeypatch.setenv(VARIABLE, str(tmp_path / "enrolment.key"))
        assert run("keys", "seal-enrolments", "--store", store, "--json").json["sealed"] == 2
        assert run("keys", "seal-enrolments", "--store", store).out == f"{store} has no plain enrolments\n"
        assert traces(store, words, vectors) == []

        listed = {one["speaker"]: one for one in run("speakers", "--store", store, "--json").json}
        assert listed["Zoë Quäckenbush"]["enrolments"] == 2
        erased = run("erase", "--yes", "--speaker", "Zoë Quäckenbush", "--store", store, "--json")
        assert erased.json["enrolments"] == 2
        assert len(run("speakers", "--store", store, "--json").json) == 2

    @pytest.mark.parametrize("command", [["speakers"], ["erase", "--yes", "--speaker", "ann"]])
    def test_without_its_key_a_sealed_store_is_one_line_and_unharmed(
        self, run: Run, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
    ) -> None:
        run("keys", "enrolment-key", tmp_path / "one")
        run("keys", "enrolment-key", tmp_path / "other")
        monkeypatch.setenv(VARIABLE, str(tmp_path / "one"))
        run("keys", "seal-enrolments", "--store", store)
        before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file() and path.name != "LOCK"}
        for key, complaint in (
            (None, "the enrolments are sealed, and no key is given"),
            ("other", "the enrolments are sealed with another key than that of"),
            ("absent", "the enrolments' key is not there"),
        ):
            if key is None:
                monkeypatch.delenv(VARIABLE)
            else:
                monkeypatch.setenv(VARIABLE, str(tmp_path / key))
            outcome = run(*command, "--store", store)
            assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
            assert complaint in outcome.err
        assert not (store / UNDER_WAY).exists()
        after = {path: path.read_bytes() for path in before}
        assert after == before

    def test_what_is_no_store_cannot_be_sealed(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run("keys", "enrolment-key", tmp_path / "key")
        monkeypatch.setenv(VARIABLE, str(tmp_path / "key"))
        outcome = run("keys", "seal-enrolments", "--store", tmp_path / "absent")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert not (tmp_path / "absent").exists()
