"""`trials make`, `eval` and `compare` as a user meets them."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run

Recordings = dict[str, list[Path]]


@pytest.fixture
def manifest(recordings: Recordings, tmp_path: Path) -> Path:
    """Six speakers, four recordings each, every other one by phone."""
    lines = ["path\tspeaker\tdevice"]
    for speaker, paths in list(recordings.items())[:6]:
        lines += [f"{path}\t{speaker}\t{'phone' if at % 2 else 'headset'}" for at, path in enumerate(paths[:4])]
    (tmp_path / "dev.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path / "dev.tsv"


@pytest.fixture
def trials(run: Run, manifest: Path, tmp_path: Path) -> Path:
    run("trials", "make", "--manifest", manifest, "--all-pairs", "-o", tmp_path / "trials.tsv")
    return tmp_path / "trials.tsv"


class TestTrials:
    def test_the_list_goes_to_stdout_and_the_counts_to_stderr(self, run: Run, manifest: Path) -> None:
        outcome = run("trials", "make", "--manifest", manifest, "--ratio", 2, "--seed", 1)
        assert outcome.code == 0
        lines = outcome.out.splitlines()
        assert len(lines) == 36 * 3
        assert sum(line.startswith("1 ") for line in lines) == 36
        assert outcome.err == "vecsv: 108 trials, 36 targets and 72 non-targets (2 a target)\n"

    def test_a_store_gives_its_utterance_ids(self, run: Run, built: Path) -> None:
        outcome = run("trials", "make", "--store", built, "--per-speaker", 1)
        assert outcome.code == 0
        assert all(name.endswith(".wav") for line in outcome.out.splitlines() for name in line.split(maxsplit=1)[1:])

    def test_manifest_or_store_is_one_of_two(self, run: Run, built: Path, manifest: Path) -> None:
        assert run("trials", "make").code == 2
        assert run("trials", "make", "--manifest", manifest, "--store", built).code == 2


class TestEval:
    def test_a_store_prints_the_figures_people_quote(self, run: Run, built: Path) -> None:
        outcome = run("eval", "--store", built)
        assert outcome.code == 0
        for word in ("EER", "minDCF p=0.01", "minDCF sre08", "FNMR at FMR 0.001", "AUC", "minCllr", "best F1", "90%"):
            assert word in outcome.out

    def test_a_list_gives_what_the_store_gives(
        self, run: Run, trials: Path, manifest: Path, tmp_path: Path, ge2e_folder: Path
    ) -> None:
        run("embed", "--manifest", manifest, "--store", tmp_path / "store")
        of_store = run("eval", "--store", tmp_path / "store", "--all-pairs", "--json").json
        of_list = run("eval", "--trials", trials, "--json").json
        cached = run("eval", "--trials", trials, "--store", tmp_path / "store", "--json").json
        for figure in ("eer", "eer_threshold", "min_cllr", "auc"):
            assert of_list["metrics"][figure] == pytest.approx(of_store["metrics"][figure], abs=1e-4)
            assert of_list["metrics"][figure] == pytest.approx(cached["metrics"][figure], abs=1e-4)
        assert (of_list["basis"]["from_store"], cached["basis"]["from_store"]) == (0, 24)
        assert of_list["model"] == of_store["model"] == "ge2e"

    def test_by_breaks_down_by_a_column(self, run: Run, trials: Path, manifest: Path, ge2e_folder: Path) -> None:
        words = ("eval", "--trials", trials, "--manifest", manifest, "--by", "device", "--by", "speaker")
        found = run(*words, "--json").json
        assert [by["column"] for by in found["by"]] == ["device", "speaker"]
        device = found["by"][0]["parts"]
        assert [(part["value"], part["kind"]) for part in device] == [
            ("headset", "same"),
            ("phone", "same"),
            (None, "mixed"),
        ]
        assert sum(part["targets"] for part in device) == found["metrics"]["targets"] == 36
        text = run(*words).out
        assert "by device; FMR and FNMR at" in text
        assert "(mixed)" in text
        assert "too few: 6 targets" in text

    def test_an_enrolment_may_be_several_recordings(
        self, run: Run, recordings: Recordings, tmp_path: Path, ge2e_folder: Path
    ) -> None:
        chosen = list(recordings.items())[:4]
        (tmp_path / "enrol.tsv").write_text(
            "".join(f"{path}\t{speaker}\n" for speaker, paths in chosen for path in paths[:3])
        )
        lines = [
            f"{speaker}\t{paths[4]}\t{'target' if speaker == other else 'nontarget'}"
            for speaker, _ in chosen
            for other, paths in chosen
        ]
        (tmp_path / "trials.tsv").write_text("\n".join(lines) + "\n")
        outcome = run("eval", "--trials", tmp_path / "trials.tsv", "--enrol", tmp_path / "enrol.tsv", "--json")
        assert outcome.code == 0
        assert (outcome.json["metrics"]["targets"], outcome.json["metrics"]["non_targets"]) == (4, 12)
        assert outcome.json["basis"]["recordings"] == 16

    def test_recordings_that_fail_are_listed_and_the_exit_code_is_1(
        self, run: Run, trials: Path, tmp_path: Path, ge2e_folder: Path
    ) -> None:
        first = trials.read_text().split()[1]
        with trials.open("a") as file:
            file.write(f"1 {first} absent.wav\n0 {first} absent.wav\n")
        outcome = run("eval", "--trials", trials)
        assert outcome.code == 1
        assert "2 trials, for 1 recordings without an embedding" in outcome.out
        assert "no embedding of absent.wav, 2 trials left out: " in outcome.err
        document = run("eval", "--trials", trials, "--json").json
        assert document["basis"]["trials_left_out"] == 2
        assert [failure["name"] for failure in document["failures"]] == ["absent.wav"]

    def test_a_bad_line_is_one_line_and_exit_code_2(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "trials.tsv").write_text("1 a.wav b.wav\n7 a.wav c.wav\n")
        outcome = run("eval", "--trials", tmp_path / "trials.tsv", "--out", tmp_path / "run")
        assert outcome.code == 2
        assert outcome.err.startswith(f"vecsv: {tmp_path / 'trials.tsv'}, line 2: ")
        assert outcome.err.count("\n") == 1
        assert not (tmp_path / "run").exists()

    def test_options_that_do_not_go_together_are_refused(self, run: Run, built: Path, trials: Path) -> None:
        assert "--ratio does not go with --trials" in run("eval", "--trials", trials, "--ratio", 3).err
        assert "--all-pairs does not go with --trials" in run("eval", "--trials", trials, "--all-pairs").err
        outcome = run("eval", "--store", built, "--manifest", "dev.tsv")
        assert (outcome.code, "--manifest does not go with" in outcome.err) == (2, True)

    def test_an_unknown_column_names_those_there_are(self, run: Run, built: Path) -> None:
        outcome = run("eval", "--store", built, "--by", "device")
        assert outcome.code == 2
        assert "there are: speaker" in outcome.err

    def test_the_scores_are_written_as_text(self, run: Run, built: Path, tmp_path: Path) -> None:
        outcome = run("eval", "--store", built, "--scores", tmp_path / "scores.tsv", "--json")
        metrics = outcome.json["metrics"]
        assert (
            len((tmp_path / "scores.tsv").read_text().splitlines()) == 1 + metrics["targets"] + metrics["non_targets"]
        )

    @pytest.mark.speech
    def test_ge2e_has_its_known_error_rate_on_real_speech(
        self, run: Run, speech: Path, tmp_path: Path, ge2e_folder: Path
    ) -> None:
        rows = [
            line for line in (speech / "dev.tsv").read_text().splitlines() if line.startswith("librispeech-test-other")
        ]
        (tmp_path / "dev.tsv").write_text("".join(f"{speech}/{row}\n" for row in rows))
        run("trials", "make", "--manifest", tmp_path / "dev.tsv", "--all-pairs", "-o", tmp_path / "trials.tsv")
        words = run("eval", "--trials", tmp_path / "trials.tsv").out.split()
        assert words[words.index("EER") + 1] == "0.44%"


class TestCompare:
    def test_two_runs_stand_side_by_side(self, run: Run, built: Path, tmp_path: Path) -> None:
        for name in ("one", "two"):
            assert run("eval", "--store", built, "--out", tmp_path / name).code == 0
        outcome = run("compare", tmp_path / "one", tmp_path / "two")
        assert outcome.code == 0
        assert "not told apart" in outcome.out
        document = run("compare", tmp_path / "one", tmp_path / "two", "--json").json
        assert {figure["name"] for figure in document["differences"]} >= {"eer", "min-dcf p=0.01"}
        assert all(figure["difference"] == 0 for figure in document["differences"])

    def test_other_trials_are_refused(self, run: Run, built: Path, tmp_path: Path) -> None:
        run("eval", "--store", built, "--out", tmp_path / "one")
        run("eval", "--store", built, "--out", tmp_path / "two", "--seed", 1, "--per-speaker", 3)
        outcome = run("compare", tmp_path / "one", tmp_path / "two")
        assert outcome.code == 2
        assert "not the trials of" in outcome.err
        assert " here and " in outcome.err
