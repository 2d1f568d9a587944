import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.errors import TrialListError
from vecsv.evaluation.trials import TrialList, name_beside, read_trials, write_trials

Trial = tuple[bool, str, str]
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\t\n\r\0"), min_size=1).filter(
    lambda name: name == name.strip()
)


def as_tuples(trials: TrialList) -> list[Trial]:
    columns = zip(trials.labels.tolist(), trials.enrol.tolist(), trials.test.tolist(), strict=True)
    return [(label, trials.enrol_names[enrol], trials.test_names[test]) for label, enrol, test in columns]


def read(tmp_path: Path, content: str | bytes) -> TrialList:
    path = tmp_path / "trials.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_trials(path)


def refused(tmp_path: Path, content: str | bytes) -> str:
    with pytest.raises(TrialListError) as caught:
        read(tmp_path, content)
    return str(caught.value)


def test_the_form_of_voxceleb_has_the_label_first(tmp_path: Path) -> None:
    trials = read(tmp_path, "1 id1/a.wav id1/b.wav\n0 id1/a.wav id2/c.wav\n")
    assert as_tuples(trials) == [(True, "id1/a.wav", "id1/b.wav"), (False, "id1/a.wav", "id2/c.wav")]
    assert trials.enrol_names == ("id1/a.wav",)


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("target", "nontarget"), ("Target", "NONTARGET")])
def test_the_form_of_kaldi_has_the_label_last(tmp_path: Path, yes: str, no: str) -> None:
    trials = read(tmp_path, f"ann b.wav {yes}\nann c.wav {no}\n")
    assert as_tuples(trials) == [(True, "ann", "b.wav"), (False, "ann", "c.wav")]


def test_a_recording_called_1_does_not_hide_where_the_label_stands(tmp_path: Path) -> None:
    assert as_tuples(read(tmp_path, "1 a.wav 0\nb.wav c.wav 1\n")) == [(False, "1", "a.wav"), (True, "b.wav", "c.wav")]
    assert as_tuples(read(tmp_path, "1 a.wav 0\n0 c.wav b.wav\n")) == [(True, "a.wav", "0"), (False, "c.wav", "b.wav")]


def test_where_every_line_could_be_either_the_label_is_first(tmp_path: Path) -> None:
    assert as_tuples(read(tmp_path, "1 a 0\n0 b 1\n")) == [(True, "a", "0"), (False, "b", "1")]


def test_in_a_line_with_tabs_names_may_hold_spaces(tmp_path: Path) -> None:
    trials = read(tmp_path, "1\tmy calls/a.wav\tb 2.wav\n0 c.wav d.wav\n")
    assert as_tuples(trials) == [(True, "my calls/a.wav", "b 2.wav"), (False, "c.wav", "d.wav")]


def test_marks_carriage_returns_and_blank_lines_do_no_harm_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    trials = read(tmp_path, b"\xef\xbb\xbf1 a b\r\n\r\n  \n0  a   c\r\n")
    assert as_tuples(trials) == [(True, "a", "b"), (False, "a", "c")]
    assert trials.lines.tolist() == [1, 4]


def test_a_bad_line_is_named_by_its_number_and_refuses_the_list(tmp_path: Path) -> None:
    message = refused(tmp_path, "1 a b\n0 a\n2 a c\n0 a d\n")
    assert "trials.txt, line 2: 2 fields instead of 3" in message
    assert "2 bad lines in all, also 3" in message


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"maybe a b", 'label "maybe"'),
        (b"1 my calls/a.wav b.wav", "separated by tabs where names hold spaces"),
        (b"1\t\tb.wav", "a field is empty"),
        (b"1 a \xff", "not UTF-8 at byte 5"),
    ],
)
def test_each_fault_of_a_line_is_said(tmp_path: Path, line: bytes, problem: str) -> None:
    assert problem in refused(tmp_path, b"1 a b\n" + line + b"\n")


def test_many_bad_lines_do_not_fill_the_message(tmp_path: Path) -> None:
    message = refused(tmp_path, "1 a b\n" + "nothing\n" * 500)
    assert "500 bad lines in all" in message
    assert len(message) < 400


def test_a_missing_and_an_empty_list_are_errors(tmp_path: Path) -> None:
    with pytest.raises(TrialListError, match="no such trial list"):
        read_trials(tmp_path / "absent.txt")
    assert "no trials" in refused(tmp_path, "\n\n")
    with pytest.raises(TrialListError, match="cannot be read"):
        read_trials(tmp_path)


@given(st.lists(st.tuples(st.booleans(), names, names), min_size=1, max_size=8))
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, trials: list[Trial]) -> None:
    path = tmp_path_factory.mktemp("trials") / "trials.txt"
    assert write_trials(trials, path) == len(trials)
    assert as_tuples(read_trials(path)) == trials


def test_a_list_that_could_be_read_the_other_way_is_still_read_as_written(tmp_path: Path) -> None:
    trials = [(True, "a", "1"), (False, "b", "target")]
    write_trials(trials, tmp_path / "trials.txt")
    assert as_tuples(read_trials(tmp_path / "trials.txt")) == trials


def test_tabs_separate_only_where_a_name_holds_white_space() -> None:
    plain, spaced = io.StringIO(), io.StringIO()
    write_trials([(True, "a.wav", "b.wav")], plain)
    write_trials([(True, "a.wav", "b.wav"), (False, "a.wav", "c d.wav")], spaced)
    assert plain.getvalue() == "1 a.wav b.wav\n"
    assert spaced.getvalue() == "1\ta.wav\tb.wav\n0\ta.wav\tc d.wav\n"


@pytest.mark.parametrize("name", ["", " a.wav", "a\tb", "a\nb"])
def test_a_name_that_would_not_come_back_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(TrialListError, match="cannot hold the name"):
        write_trials([(True, "a.wav", name)], tmp_path / "trials.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_named_relative_to_the_list(tmp_path: Path) -> None:
    assert name_beside(tmp_path / "speech" / "a.wav", tmp_path) == "speech/a.wav"
    assert name_beside(tmp_path / "a.wav", tmp_path / "lists") == "../a.wav"
