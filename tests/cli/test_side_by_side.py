"""Two models side by side, windows and calls with two people, from the command line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.cli.conftest import Outcome, Run
from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import speak, write_speakers
from vecsv import Stores
from vecsv.api import Store
from vecsv.models import registry
from vecsv.store.generation import require_latest
from vecsv.store.reader import Snapshot

SEEDS = {"ge2e": 0, "left": 0, "right": 1}
RATE = 16000
SAME = ("speaker-000/000.wav", "speaker-000/001.wav")
DIFFERENT = ("speaker-000/000.wav", "speaker-001/001.wav")


class Named(SpectralEmbedder):
    """A small model that goes by a name of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(SEEDS[name])
        self._name = name

    @property
    def name(self) -> str:
        return self._name


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry knows three small models."""

    def load(name: str, *_: object, **__: object) -> Named:
        return Named(name)

    monkeypatch.setattr(registry, "load", load)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_speakers(tmp_path / "audio", 12, 4)


@pytest.fixture
def make(corpus: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make an indexed and calibrated store with a model."""

    def made(model: str, *, calibrated: bool = True) -> Path:
        store = Store(tmp_path / model, model=model)
        store.embed(corpus)
        store.build_index()
        if calibrated:
            store.calibrate()
        return store.folder

    return made


@pytest.fixture
def both(make: Callable[..., Path]) -> list[str]:
    """The words that name two stores."""
    return ["--store", f"one={make('left')}", "--store", f"two={make('right')}"]


def paths(corpus: Path, names: tuple[str, str]) -> list[Path]:
    return [corpus.parent / name for name in names]


class TestVerify:
    def test_each_store_answers_for_itself_and_both_are_shown(
        self, run: Run, both: list[str], corpus: Path, make: Callable[..., Path]
    ) -> None:
        outcome = run("verify", *paths(corpus, SAME), *both, "--json")
        assert outcome.code == 0
        assert set(outcome.json) == {"stores", "agree", "decision"}
        assert (outcome.json["agree"], outcome.json["decision"]) == (True, "same")
        for word, alone in zip(both[1::2], ("left", "right"), strict=True):
            name, _, path = word.partition("=")
            single = run("verify", *paths(corpus, SAME), "--store", path, "--json")
            assert outcome.json["stores"][name] == single.json
            assert single.json["model"] == alone
        fingerprints = {answer["fingerprint"] for answer in outcome.json["stores"].values()}
        assert len(fingerprints) == 2

    def test_the_table_has_a_column_for_each(self, run: Run, both: list[str], corpus: Path) -> None:
        outcome = run("verify", *paths(corpus, DIFFERENT), *both)
        assert outcome.code == 1
        lines = outcome.out.splitlines()
        assert lines[0].split() == ["one", "two"]
        assert lines[1].split() == ["decision", *["different", "speakers"] * 2]
        assert lines[-1] == "all agree: different speakers"

    def test_stores_that_disagree_reject(self, run: Run, both: list[str], corpus: Path) -> None:
        # A threshold of one that nothing reaches: that store rejects what the other accepts.
        folder = Path(both[1].partition("=")[2])
        strict = Store(folder).calibration()
        assert strict is not None
        outcome = run("verify", *paths(corpus, SAME), *both, "--json")
        scores = {name: answer["score"] for name, answer in outcome.json["stores"].items()}
        document = next((folder / "calibration").rglob("thresholds.json"))
        text = document.read_text()
        document.write_text(text.replace(str(strict.point().threshold), str(min(1.0, scores["one"] + 0.005))))
        outcome = run("verify", *paths(corpus, SAME), *both, "--json")
        assert outcome.code == 1
        assert (outcome.json["agree"], outcome.json["decision"]) == (False, None)
        assert "the stores disagree" in run("verify", *paths(corpus, SAME), *both).out

    def test_a_store_without_a_threshold_leaves_it_undecided(
        self, run: Run, make: Callable[..., Path], corpus: Path
    ) -> None:
        words = ["--store", f"one={make('left')}", "--store", f"two={make('right', calibrated=False)}"]
        outcome = run("verify", *paths(corpus, SAME), *words, "--json")
        assert outcome.code == 3
        assert outcome.json["stores"]["one"]["same"] is True
        assert outcome.json["stores"]["two"]["same"] is None
        assert (outcome.json["agree"], outcome.json["decision"]) == (False, None)

    def test_one_store_by_name_is_that_store(self, run: Run, make: Callable[..., Path], corpus: Path) -> None:
        store = make("left")
        named = run("verify", *paths(corpus, SAME), "--store", f"one={store}", "--json")
        assert named.json == run("verify", *paths(corpus, SAME), "--store", store, "--json").json

    @pytest.mark.parametrize(
        "words", [["--threshold", "0.5"], ["--model", "left"], ["--store", "one=x"], ["--store", "plain"]]
    )
    def test_what_several_stores_cannot_share_is_refused(
        self, run: Run, corpus: Path, tmp_path: Path, words: list[str]
    ) -> None:
        both = ["--store", f"one={tmp_path / 'a'}", "--store", f"two={tmp_path / 'b'}"]
        outcome = run("verify", *paths(corpus, SAME), *both, *words)
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1

    def test_python_has_the_same(self, both: list[str], corpus: Path) -> None:
        named = dict(word.split("=") for word in both[1::2])
        verdict = Stores(named).verify(*paths(corpus, SAME))
        assert (verdict.agree, verdict.same) == (True, True)
        sightings = Stores(named).search(paths(corpus, SAME)[0])
        assert (sightings.agree, sightings.speaker) == (True, None)


class TestSearch:
    def test_both_stores_are_asked_and_compared(self, run: Run, both: list[str], corpus: Path) -> None:
        query = paths(corpus, SAME)[0]
        outcome = run("search", query, *both, "--json")
        assert outcome.code == 0
        assert set(outcome.json) == {"query", "stores", "agree", "decision"}
        assert outcome.json["agree"] is True
        # Neither has a threshold for searches: nobody has passed anything.
        assert outcome.json["decision"] is None
        for word in both[1::2]:
            name, _, path = word.partition("=")
            assert outcome.json["stores"][name] == run("search", query, "--store", path, "--json").json
        text = run("search", query, *both).out
        assert "all agree on speaker-000" in text
        assert text.count("best utterance") == 2

    def test_lists_of_queries_give_an_answer_each(self, run: Run, both: list[str], corpus: Path) -> None:
        outcome = run("search", "--queries", corpus, *both, "--json")
        assert outcome.code == 0
        assert len(outcome.json["queries"]) == 48
        assert all(set(one["stores"]) == {"one", "two"} for one in outcome.json["queries"])

    def test_a_recording_that_cannot_be_read_is_one_line(self, run: Run, both: list[str], tmp_path: Path) -> None:
        outcome = run("search", tmp_path / "absent.wav", *both)
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1


class TestCalls:
    @pytest.fixture
    def call(self, tmp_path: Path) -> Path:
        """Speaker 2 on the left, speaker 5 on the right."""
        sides = [np.concatenate([speak(f"speaker-{n:03d}", 70 + take) for take in range(3)]) for n in (2, 5)]
        soundfile.write(tmp_path / "call.wav", np.stack(sides, axis=1), RATE, "FLOAT")
        (tmp_path / "call.rttm").write_text(
            "SPEAKER call 1 0 3 <NA> <NA> agent <NA> <NA>\nSPEAKER call 2 0 3 <NA> <NA> caller <NA> <NA>\n"
        )
        return tmp_path / "call.wav"

    def best(self, outcome: Outcome) -> Mapping[str, str]:
        return {one["query"].split("#")[1]: one["hits"][0]["speaker"] for one in outcome.json["queries"]}

    def test_each_channel_has_an_answer(self, run: Run, make: Callable[..., Path], call: Path) -> None:
        outcome = run("search", call, "--each-channel", "--store", make("left"), "--json")
        assert outcome.code == 0
        assert self.best(outcome) == {"channel=1": "speaker-002", "channel=2": "speaker-005"}

    def test_each_speaker_of_an_rttm_file_has_an_answer(self, run: Run, make: Callable[..., Path], call: Path) -> None:
        store = make("left")
        outcome = run("search", call, "--rttm", call.with_suffix(".rttm"), "--store", store, "--json")
        assert self.best(outcome) == {"speaker=agent": "speaker-002", "speaker=caller": "speaker-005"}
        text = run("search", call, "--rttm", call.with_suffix(".rttm"), "--store", store).out
        assert f"{call}#speaker=agent" in text

    def test_two_stores_answer_for_each_speaker(self, run: Run, both: list[str], call: Path) -> None:
        outcome = run("search", call, "--rttm", call.with_suffix(".rttm"), *both, "--json")
        assert [one["agree"] for one in outcome.json["queries"]] == [True, True]

    @pytest.mark.parametrize(
        "words", [["--each-channel", "--channel", "1"], ["--each-channel", "--rttm", "x"], ["--queries", "x"]]
    )
    def test_options_that_do_not_go_together_are_refused(self, run: Run, call: Path, words: list[str]) -> None:
        outcome = run("search", call, *words)
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1

    def test_turns_become_rows_with_speakers_of_their_file(self, run: Run, call: Path, tmp_path: Path) -> None:
        words = ["embed", "--rttm", call.with_suffix(".rttm"), "--audio", tmp_path, "--json"]
        outcome = run(*words, "--store", tmp_path / "local")
        assert (outcome.code, outcome.json["embedded"]) == (0, 2)
        assert [one.speaker for one in Store(tmp_path / "local").speakers()] == ["call/agent", "call/caller"]
        run(*words, "--store", tmp_path / "global", "--rttm-speakers", "global")
        assert [one.speaker for one in Store(tmp_path / "global").speakers()] == ["agent", "caller"]

    @pytest.mark.parametrize("words", [[], ["--rttm", "x"], ["--rttm", "x", "--audio", "y", "--rttm-speakers", "z"]])
    def test_what_embed_cannot_do_is_one_line(self, run: Run, tmp_path: Path, words: list[str]) -> None:
        outcome = run("embed", *words, "--store", tmp_path / "store")
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1
        assert not (tmp_path / "store").exists()


class TestWindows:
    @pytest.fixture
    def long(self, tmp_path: Path) -> Path:
        """Recordings of 4 s; the third second of the first is somebody else's."""
        folder = tmp_path / "long"
        folder.mkdir()
        lines = []
        for speaker in ("ann", "ben", "eve"):
            for number in range(2):
                takes = [speak(speaker, 10 * number + take) for take in range(4)]
                if (speaker, number) == ("ann", 0):
                    takes[2] = speak("zoe", 0)
                soundfile.write(folder / f"{speaker}-{number}.wav", np.concatenate(takes), RATE, "FLOAT")
                lines.append(f"{speaker}-{number}.wav\t{speaker}\n")
        (folder / "train.tsv").write_text("".join(lines))
        return folder

    def rows(self, folder: Path) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = Snapshot.open(folder).table(["utt_id", "segment", "offset_s"]).to_pylist()
        return found

    def test_a_search_names_the_window_that_scored(self, run: Run, long: Path, tmp_path: Path) -> None:
        store = tmp_path / "store"
        words = ["--window", 1, "--hop", 1, "--windows", "rows", "--store", store]
        assert run("embed", "--manifest", long / "train.tsv", *words).code == 0
        assert len(self.rows(store)) == 24
        run("index", "build", "--store", store)
        soundfile.write(tmp_path / "query.wav", speak("zoe", 1), RATE, "FLOAT")
        outcome = run(
            "search", tmp_path / "query.wav", "--level", "utterance", "--top-k", 6, "--store", store, "--json"
        )
        hits = outcome.json["hits"]
        assert (hits[0]["utt_id"], hits[0]["segment"], hits[0]["offset_s"], hits[0]["duration_s"]) == (
            "ann-0.wav", 2, 2.0, 1.0,
        )  # fmt: skip
        assert len({hit["utt_id"] for hit in hits}) == 6
        text = run("search", tmp_path / "query.wav", "--level", "utterance", "--store", store).out
        assert "ann-0.wav (from 2.00 s)" in text

    def test_thresholds_of_windows_say_that_they_are(self, run: Run, corpus: Path, tmp_path: Path) -> None:
        store = tmp_path / "store"
        run("embed", "--manifest", corpus, "--window", 0.5, "--windows", "rows", "--store", store)
        run("index", "build", "--store", store)
        run("calibrate", "--store", store)
        run("calibrate", "--search", "--fpir", 0.2, "--store", store)
        note = "the store's thresholds rest on windows of 0.5 s every 0.25 s, a row each"
        answer = run("verify", *paths(corpus, SAME), "--store", store, "--json").json
        assert any(note in warning for warning in answer["warnings"])
        found = run("search", paths(corpus, SAME)[0], "--store", store, "--json").json
        assert found["threshold"] is not None
        assert any(note in warning for warning in found["warnings"])
        given = run("verify", *paths(corpus, SAME), "--store", store, "--threshold", "0.5", "--json").json
        assert not any(note in warning for warning in given["warnings"])

    def test_a_pooled_store_pools_what_it_is_asked(self, run: Run, long: Path, tmp_path: Path) -> None:
        store = tmp_path / "store"
        run("embed", "--manifest", long / "train.tsv", "--window", 2, "--store", store)
        rule = require_latest(store).windows
        assert rule is not None
        assert (rule.length_s, rule.hop_s) == (2.0, 1.0)
        run("index", "build", "--store", store)
        outcome = run("search", long / "ann-0.wav", "--store", store, "--json")
        assert outcome.json["hits"][0]["score"] == pytest.approx(1.0, abs=1e-6)
        assert run("enroll", long / "ben-0.wav", "--speaker", "bea", "--store", store).code == 0
        answer = run("verify", long / "ben-0.wav", "--speaker", "bea", "--store", store, "--json").json
        assert answer["score"] == pytest.approx(1.0, abs=1e-6)
        assert answer["fingerprint"] == require_latest(store).fingerprint

    def test_a_store_object_that_made_a_pooled_store_goes_on_with_it(self, long: Path, tmp_path: Path) -> None:
        from vecsv.audio.windows import WindowRule
        from vecsv.embedding.run import EmbedSettings

        store = Store(tmp_path / "store", model="left")
        store.embed(long / "train.tsv", settings=EmbedSettings(windows=WindowRule(2, 1)))
        store.build_index()
        assert store.search(long / "ann-0.wav").hits[0].score == pytest.approx(1.0, abs=1e-6)
        assert store.embed(long / "train.tsv").embedded_before == 6

    def test_another_rule_is_one_line(self, run: Run, long: Path, tmp_path: Path) -> None:
        words = ["embed", "--manifest", long / "train.tsv", "--store", tmp_path / "store", "--window", 2]
        assert run(*words).code == 0
        outcome = run(*words, "--hop", 0.5)
        assert outcome.code == 2
        assert "every 1 s, pooled, these would be windows of 2 s every 0.5 s" in outcome.err
        assert outcome.err.count("\n") == 1

    @pytest.mark.parametrize(
        "words", [["--hop", "1"], ["--windows", "rows"], ["--window", "3", "--windows", "both"], ["--window", "0"]]
    )
    def test_windows_that_make_no_sense_are_one_line(
        self, run: Run, long: Path, tmp_path: Path, words: list[str]
    ) -> None:
        outcome = run("embed", "--manifest", long / "train.tsv", "--store", tmp_path / "store", *words)
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1
        assert not (tmp_path / "store").exists()

    def test_a_trial_list_is_scored_with_whole_recordings_where_the_store_has_windows(
        self, run: Run, long: Path, tmp_path: Path
    ) -> None:
        trials = tmp_path / "trials.txt"
        trials.write_text(
            "1 ben-0.wav ben-1.wav\n0 ben-0.wav eve-0.wav\n1 eve-0.wav eve-1.wav\n0 ben-1.wav eve-1.wav\n"
        )
        words = ["eval", "--trials", trials, "--manifest", long / "train.tsv", "--root", long, "--json"]
        whole, rows = tmp_path / "whole", tmp_path / "rows"
        run("embed", "--manifest", long / "train.tsv", "--store", whole)
        run("embed", "--manifest", long / "train.tsv", "--window", 1, "--windows", "rows", "--store", rows)
        one, other = run(*words, "--store", whole), run(*words, "--store", rows)
        assert (one.code, other.code) == (0, 0), (one.err, other.err)
        assert one.json["metrics"] == other.json["metrics"]
