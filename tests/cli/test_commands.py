"""The way a user goes, command by command, on synthetic voices with the default model."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run

Recordings = dict[str, list[Path]]


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    """A store of one's own to change."""
    return Path(shutil.copytree(built, tmp_path / "store"))


@pytest.fixture
def two(recordings: Recordings) -> tuple[str, str]:
    first, second, *_ = recordings
    return first, second


class TestEmbed:
    def test_the_summary_counts_and_goes_to_stdout(self, run: Run, recordings: Recordings, tmp_path: Path) -> None:
        speaker, paths = next(iter(recordings.items()))
        manifest = tmp_path / "train.tsv"
        manifest.write_text("".join(f"{path}\t{speaker}\n" for path in paths[:3]))
        outcome = run("embed", "--manifest", manifest, "--store", tmp_path / "new")
        assert outcome.code == 0
        words = " ".join(outcome.out.split())
        assert "embedded 3 failed 0 embedded before 0" in words
        assert "times real time" in words

    def test_json_has_stable_keys(self, run: Run, recordings: Recordings, tmp_path: Path) -> None:
        speaker, paths = next(iter(recordings.items()))
        manifest = tmp_path / "train.tsv"
        manifest.write_text(f"{paths[0]}\t{speaker}\nabsent.wav\t{speaker}\n")
        outcome = run("embed", "--manifest", manifest, "--store", tmp_path / "new", "--json")
        assert outcome.code == 1
        assert set(outcome.json) == {
            "store", "rows", "engine", "embedded", "failed", "embedded_before", "failed_before",
            "audio_s", "speech_s", "wall_s", "times_real_time", "failures",
        }  # fmt: skip
        (failure,) = outcome.json["failures"]
        assert (failure["line"], failure["code"]) == (2, "missing")

    def test_failures_are_listed_by_their_own_command(self, run: Run, recordings: Recordings, tmp_path: Path) -> None:
        (tmp_path / "train.tsv").write_text("absent.wav\tann\n")
        outcome = run("embed", "--manifest", tmp_path / "train.tsv", "--store", tmp_path / "new")
        assert outcome.code == 1
        assert f"{tmp_path / 'train.tsv'}, line 1: " in outcome.err
        assert "vecsv failures" in outcome.err
        listed = run("failures", "--store", tmp_path / "new", "--json")
        assert [(row["line"], row["code"]) for row in listed.json] == [(1, "missing")]
        assert "missing" in run("failures", "--store", tmp_path / "new").out

    def test_an_interrupt_is_one_line_and_exit_code_130(
        self, run: Run, tmp_path: Path, ge2e_folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("vecsv.embedding.run.embed_source", interrupted)
        outcome = run("embed", "--manifest", tmp_path / "train.tsv", "--store", tmp_path / "new")
        assert outcome.code == 130
        assert outcome.err == "vecsv: interrupted; what was finished is kept\n"

    def test_a_missing_manifest_is_one_line_and_exit_code_2(self, run: Run, tmp_path: Path, ge2e_folder: Path) -> None:
        outcome = run("embed", "--manifest", tmp_path / "absent.tsv", "--store", tmp_path / "new")
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1
        assert outcome.out == ""


class TestIndex:
    def test_build_and_info_say_the_same(self, run: Run, store: Path) -> None:
        built = run("index", "build", "--store", store, "--json")
        info = run("index", "info", "--store", store, "--json")
        assert (built.code, info.code) == (0, 0)
        assert built.json == info.json
        assert info.json["rows"] == info.json["store_rows"]
        assert info.json["exact"] is True

    def test_info_reads_as_a_list_of_facts(self, run: Run, built: Path) -> None:
        assert "inner product, exact" in run("index", "info", "--store", built).out

    def test_without_a_store_the_error_says_how_to_make_one(self, run: Run, tmp_path: Path) -> None:
        outcome = run("index", "build", "--store", tmp_path / "absent")
        assert outcome.code == 2
        assert "vecsv embed" in outcome.err


class TestCalibrate:
    def test_all_thresholds_are_listed_with_their_counts(self, run: Run, store: Path) -> None:
        outcome = run("calibrate", "--store", store)
        assert outcome.code == 0
        for name in ("eer", "min-dcf-0.01", "best-f1-0.01", "fmr-0.01 *", "fmr-0.001"):
            assert f"\n{name} " in outcome.out

    def test_what_the_data_cannot_carry_is_said(self, run: Run, store: Path) -> None:
        document = run("calibrate", "--store", store, "--json", "--ratio", 1).json
        point = next(point for point in document["points"] if point["name"] == "fmr-0.001")
        assert point["supported"] is False
        assert "3000" in point["note"]
        assert document["basis"]["ratio_asked"] == 1

    def test_another_threshold_can_be_put_in_force(self, run: Run, store: Path, recordings: Recordings) -> None:
        run("calibrate", "--store", store, "--in-force", "eer")
        first, second, *_ = next(iter(recordings.values()))
        assert run("verify", first, second, "--store", store, "--json").json["threshold_name"] == "eer"


class TestVerify:
    def test_one_speaker_is_the_same_with_exit_code_0(self, run: Run, built: Path, recordings: Recordings) -> None:
        first, second, *_ = next(iter(recordings.values()))
        outcome = run("verify", first, second, "--store", built)
        assert outcome.code == 0
        assert outcome.out.startswith("decision   same speaker\n")

    def test_two_speakers_are_different_with_exit_code_1(
        self, run: Run, built: Path, recordings: Recordings, two: tuple[str, str]
    ) -> None:
        outcome = run("verify", recordings[two[0]][0], recordings[two[1]][0], "--store", built, "--json")
        assert outcome.code == 1
        assert (outcome.json["decision"], outcome.json["same"]) == ("different", False)
        assert outcome.json["score"] < outcome.json["threshold"]
        assert outcome.json["threshold_origin"] == "store"

    def test_json_has_stable_keys(self, run: Run, built: Path, recordings: Recordings) -> None:
        first, second, *_ = next(iter(recordings.values()))
        document = run("verify", first, second, "--store", built, "--json").json
        assert set(document) == {
            "score", "cosine", "normalised", "llr", "same", "decision", "threshold", "threshold_name",
            "threshold_origin", "threshold_source", "threshold_fmr", "threshold_fnmr", "model", "fingerprint", "engine",
            "first", "second", "warnings",
        }  # fmt: skip
        assert set(document["first"]) == {"kind", "name", "utterances", "quality"}

    def test_a_speaker_of_the_store_can_be_the_other_side(self, run: Run, built: Path, recordings: Recordings) -> None:
        speaker, paths = next(iter(recordings.items()))
        outcome = run("verify", paths[0], "--speaker", speaker, "--store", built, "--json")
        assert outcome.code == 0
        assert outcome.json["second"] == {
            "kind": "speaker", "name": speaker, "utterances": len(paths), "quality": None,
        }  # fmt: skip

    def test_an_own_threshold_decides(self, run: Run, built: Path, recordings: Recordings) -> None:
        first, second, *_ = next(iter(recordings.values()))
        assert run("verify", first, second, "--store", built, "--threshold", "1.5").code == 1
        assert run("verify", first, second, "--store", built, "--threshold", "-1").code == 0

    def test_without_a_store_the_models_reference_decides_and_says_so(
        self, run: Run, recordings: Recordings, tmp_path: Path
    ) -> None:
        first, second, *_ = next(iter(recordings.values()))
        outcome = run("verify", first, second, "--store", tmp_path / "absent", "--json")
        assert outcome.code in {0, 1}
        assert outcome.json["threshold_origin"] == "reference"
        assert any("vecsv calibrate" in warning for warning in outcome.json["warnings"])
        assert not (tmp_path / "absent").exists()

    def test_without_any_calibration_the_score_is_printed_and_the_exit_code_is_3(
        self, run: Run, recordings: Recordings, ge2e_folder: Path, tmp_path: Path
    ) -> None:
        bundle = Path(shutil.copytree(ge2e_folder, tmp_path / "bundle")) / "bundle.json"
        bundle.write_text(json.dumps(json.loads(bundle.read_text()) | {"reference_calibration": None}))
        first, second, *_ = next(iter(recordings.values()))
        outcome = run("verify", first, second, "--store", tmp_path / "absent", "--model", tmp_path / "bundle", "--json")
        assert outcome.code == 3
        assert outcome.json["same"] is None
        assert outcome.json["threshold"] is None
        assert outcome.json["score"] > 0.5

    @pytest.mark.parametrize(
        "words",
        [
            ("a.wav",),
            ("a.wav", "b.wav", "--speaker", "ann"),
            ("absent-a.wav", "absent-b.wav"),
            ("{first}", "{second}", "--threshold-name", "best"),
            ("{first}", "{second}", "--threshold-name", "eer", "--threshold", "0.5"),
            ("{first}", "--speaker", "nobody"),
        ],
    )
    def test_mistakes_are_one_line_and_exit_code_2(
        self, run: Run, built: Path, recordings: Recordings, words: tuple[str, ...]
    ) -> None:
        first, second, *_ = next(iter(recordings.values()))
        outcome = run("verify", *(word.format(first=first, second=second) for word in words), "--store", built)
        assert outcome.code == 2
        assert outcome.out == ""
        assert outcome.err.startswith("vecsv: ")
        assert outcome.err.count("\n") == 1


class TestSearch:
    def test_the_speaker_comes_first_and_every_speaker_once(
        self, run: Run, built: Path, recordings: Recordings
    ) -> None:
        speaker, paths = next(iter(recordings.items()))
        outcome = run("search", paths[0], "--store", built, "--top-k", 3, "--json")
        assert outcome.code == 0
        hits = outcome.json["hits"]
        assert hits[0]["speaker"] == speaker
        assert hits[0]["score"] == pytest.approx(1, abs=1e-5)
        assert len({hit["speaker"] for hit in hits}) == len(hits) == 3
        assert [hit["rank"] for hit in hits] == [1, 2, 3]

    def test_whether_a_hit_passes_is_null_with_the_reason(self, run: Run, built: Path, recordings: Recordings) -> None:
        document = run("search", next(iter(recordings.values()))[0], "--store", built, "--json").json
        assert [hit["passes"] for hit in document["hits"]] == [None] * 5
        assert "search threshold" in document["passes_reason"]

    def test_utterances_are_listed_on_request(self, run: Run, built: Path, recordings: Recordings) -> None:
        speaker, paths = next(iter(recordings.items()))
        document = run("search", paths[0], "--store", built, "--level", "utterance", "--json").json
        assert [hit["speaker"] for hit in document["hits"][:3]] == [speaker] * 3

    def test_a_list_of_queries_gives_an_answer_each_and_harms_no_other(
        self, run: Run, built: Path, recordings: Recordings, tmp_path: Path
    ) -> None:
        rows = [f"{paths[1]}\t{speaker}" for speaker, paths in recordings.items()]
        (tmp_path / "queries.tsv").write_text("\n".join([*rows, "absent.wav\tann"]) + "\n")
        outcome = run("search", "--queries", tmp_path / "queries.tsv", "--store", built, "--top-k", 1, "--json")
        assert outcome.code == 1
        *answers, absent = outcome.json["queries"]
        assert all(answer["hits"][0]["speaker"] == answer["expected"] for answer in answers)
        assert absent["hits"] == []
        assert "absent.wav" in absent["error"]

    def test_a_list_of_paths_alone_will_do(self, run: Run, built: Path, recordings: Recordings, tmp_path: Path) -> None:
        (tmp_path / "queries.tsv").write_text(f"{next(iter(recordings.values()))[0]}\n")
        outcome = run("search", "--queries", tmp_path / "queries.tsv", "--store", built)
        assert outcome.code == 0
        assert "best utterance" in outcome.out

    @pytest.mark.parametrize(
        "words", [(), ("a.wav", "--queries", "q.tsv"), ("{first}", "--level", "folder"), ("absent.wav",)]
    )
    def test_mistakes_are_one_line_and_exit_code_2(
        self, run: Run, built: Path, recordings: Recordings, words: tuple[str, ...]
    ) -> None:
        first = next(iter(recordings.values()))[0]
        outcome = run("search", *(word.format(first=first) for word in words), "--store", built)
        assert outcome.code == 2
        assert outcome.err.count("\n") == 1


class TestPeople:
    def test_an_enrolled_person_is_found_verified_listed_and_erased(
        self, run: Run, store: Path, recordings: Recordings, two: tuple[str, str]
    ) -> None:
        paths = recordings[two[0]]
        run("erase", "--speaker", two[0], "--store", store, "--yes")
        enrolled = run("enroll", "--speaker", "zoë", paths[0], paths[1], "--store", store, "--json")
        assert (enrolled.code, enrolled.json["added"], enrolled.json["total"]) == (0, 2, 2)
        hit = run("search", paths[2], "--store", store, "--json").json["hits"][0]
        assert (hit["speaker"], hit["enrolled"]) == ("zoë", True)
        assert run("verify", paths[3], "--speaker", "zoë", "--store", store).code == 0
        listed = {row["speaker"]: row for row in run("speakers", "--store", store, "--json").json}
        assert (listed["zoë"]["enrolments"], listed["zoë"]["utterances"]) == (2, 0)
        assert two[0] not in listed
        erased = run("erase", "--speaker", "zoë", "--store", store, "--yes", "--json")
        assert (erased.code, erased.json["enrolments"]) == (0, 2)
        assert run("search", paths[2], "--store", store, "--json").json["hits"][0]["speaker"] != "zoë"

    def test_enrolling_makes_a_store_where_there_is_none(
        self, run: Run, recordings: Recordings, tmp_path: Path
    ) -> None:
        paths = next(iter(recordings.values()))
        assert run("enroll", "--speaker", "ann", paths[0], "--store", tmp_path / "new").code == 0
        assert run("search", paths[1], "--store", tmp_path / "new", "--json").json["hits"][0]["speaker"] == "ann"

    def test_one_unusable_recording_enrols_nothing(self, run: Run, recordings: Recordings, tmp_path: Path) -> None:
        paths = next(iter(recordings.values()))
        outcome = run("enroll", "--speaker", "ann", paths[0], tmp_path / "absent.wav", "--store", tmp_path / "new")
        assert outcome.code == 2
        assert not (tmp_path / "new").exists()

    def test_erasing_asks_for_confirmation(self, run: Run, store: Path, two: tuple[str, str]) -> None:
        outcome = run("erase", "--speaker", two[0], "--store", store)
        assert outcome.code == 2
        assert "--yes" in outcome.err
        assert two[0] in run("speakers", "--store", store).out

    def test_erasing_somebody_unknown_is_an_error(self, run: Run, store: Path) -> None:
        outcome = run("erase", "--speaker", "nobody", "--store", store, "--yes")
        assert outcome.code == 2
        assert "'nobody'" in outcome.err


class TestModels:
    def test_the_default_model_is_listed_and_described(self, run: Run, ge2e_folder: Path) -> None:
        (listed,) = [model for model in run("models", "list", "--json").json if model["name"] == "ge2e"]
        assert listed["installed"] is True
        shown = run("models", "show", "ge2e", "--json").json
        assert (shown["dim"], shown["sample_rate"], shown["family"]) == (256, 16000, "ge2e")
        assert len(shown["fingerprint"]) == 64
        assert shown["reference_calibration"]["source"]
        assert "ge2e" in run("models", "list").out
        assert shown["fingerprint"] in run("models", "show").out

    def test_an_unknown_model_is_an_error_that_lists_the_known(self, run: Run) -> None:
        outcome = run("models", "pull", "no-such-model")
        assert outcome.code == 2
        assert "ge2e" in outcome.err


class TestManifest:
    def test_a_folder_per_speaker_becomes_a_manifest(self, run: Run, tmp_path: Path) -> None:
        for name in ("ann/1.wav", "ben/deep/2.flac", "ben/notes.txt"):
            (tmp_path / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "audio" / name).write_bytes(b"x")
        outcome = run("manifest", "make", tmp_path / "audio", "-o", tmp_path / "train.tsv")
        assert outcome.code == 0
        assert (tmp_path / "train.tsv").read_text().splitlines() == [
            "path\tspeaker",
            "audio/ann/1.wav\tann",
            "audio/ben/deep/2.flac\tben",
        ]


@pytest.mark.parametrize(
    "words",
    [
        (), ("manifest", "make"), ("embed",), ("index", "build"), ("index", "info"), ("calibrate",), ("verify",),
        ("search",), ("enroll",), ("speakers",), ("erase",), ("failures",), ("models", "list"), ("models", "pull"),
        ("models", "show"),
    ],
)  # fmt: skip
def test_every_command_has_help_with_an_example(run: Run, words: tuple[str, ...]) -> None:
    outcome = run(*words, "--help")
    assert outcome.code == 0
    if words:
        assert "Example" in outcome.out
        assert f"vecsv {' '.join(words)}" in outcome.out


def test_the_version_is_printed(run: Run) -> None:
    from vecsv import __version__

    assert run("--version").out == f"vecsv {__version__}\n"
