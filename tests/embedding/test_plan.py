from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.store.rows import embedded, failed, make_store
from vecsv.embedding.known import Known, Standing, audio_digest, digest, read_known
from vecsv.embedding.plan import Plan, ToEmbed, WorkUnit, failure_key, survey
from vecsv.manifest import BadRow, ManifestRow
from vecsv.store.reader import Snapshot
from vecsv.store.schema import FailedRow

NOTHING_KNOWN = read_known(None)


def row(line: int, utt_id: str | None = None, **changes: object) -> ManifestRow:
    name = utt_id or f"{line}.wav"
    values: dict[str, object] = {
        "line": line,
        "utt_id": name,
        "path": Path(f"/audio/{name}"),
        "written_path": name,
        "speaker": "ann",
        "session": None,
        "channel": None,
        "start_s": None,
        "end_s": None,
        "extra": (),
    }
    return ManifestRow(**(values | changes))  # type: ignore[arg-type]


def plan(rows: list[ManifestRow | BadRow], known: Known = NOTHING_KNOWN, per_unit: int = 4) -> list[WorkUnit]:
    return list(Plan("/lists/train.tsv", survey(rows), known, rows_per_unit=per_unit).units(rows))


def items(units: list[WorkUnit]) -> list[ToEmbed | FailedRow]:
    return [item for unit in units for item in unit.items]


@given(count=st.integers(0, 50), per_unit=st.integers(1, 9))
def test_units_hold_every_row_once_in_manifest_order(count: int, per_unit: int) -> None:
    rows: list[ManifestRow | BadRow] = [row(line) for line in range(1, count + 1)]
    units = plan(rows, per_unit=per_unit)
    assert [item.row for item in items(units) if isinstance(item, ToEmbed)] == rows
    assert [unit.number for unit in units] == list(range(len(units)))
    assert all(len(unit.items) == per_unit for unit in units[:-1])


def test_the_same_rows_give_the_same_plan() -> None:
    rows: list[ManifestRow | BadRow] = [row(1), BadRow(2, "3 columns", "a\tb\tc"), row(3, "1.wav")]
    assert plan(rows) == plan(rows)


def test_a_bad_row_is_refused_by_its_line_and_reason() -> None:
    (item,) = items(plan([BadRow(7, "3 columns", "a\tb\tc")]))
    assert isinstance(item, FailedRow)
    assert (item.line, item.code, item.reason, item.utt_id) == (7, "bad-row", "3 columns", None)


def test_the_first_of_equal_ids_is_embedded_and_the_others_are_refused_naming_its_line() -> None:
    found = items(plan([row(1, "x"), row(2, "y"), row(3, "x"), row(4, "x", speaker="ben")]))
    assert [item.row.line for item in found if isinstance(item, ToEmbed)] == [1, 2]
    refused = [item for item in found if isinstance(item, FailedRow)]
    assert [(item.line, item.code) for item in refused] == [(3, "duplicate"), (4, "duplicate")]
    assert "line 1" in refused[0].reason


def test_rows_that_failed_before_are_passed_over_and_counted() -> None:
    rows: list[ManifestRow | BadRow] = [row(1), BadRow(2, "3 columns", "t"), row(3, "1.wav")]
    first = items(plan(rows))
    keys = {item.key if isinstance(item, FailedRow) else failure_key(item.row) for item in first}
    (unit,) = plan(rows, Known(NOTHING_KNOWN.rows, frozenset(keys)))
    assert (unit.items, unit.failed_before, unit.embedded_before) == ((), 3, 0)


def test_a_failed_row_is_known_again_when_lines_were_put_before_it() -> None:
    assert failure_key(row(3, "a")) == failure_key(row(99, "a"))


@pytest.mark.parametrize("change", [{"speaker": "ben"}, {"channel": 2}, {"start_s": 1.0}, {"path": Path("/b/a")}])
def test_a_failed_row_that_was_mended_is_another_row(change: dict[str, object]) -> None:
    assert failure_key(row(1, "a")) != failure_key(row(1, "a", **change))


class TestAgainstAStore:
    @pytest.fixture
    def known(self, tmp_path: Path) -> Known:
        stored = [embedded(n, utt_id=f"{n}.wav", path=f"/audio/{n}.wav") for n in (1, 2)]
        make_store(tmp_path, stored, failures=[failed(9)])
        return read_known(Snapshot.open(tmp_path))

    def test_embedded_rows_are_passed_over_and_counted(self, known: Known) -> None:
        (unit,) = plan([row(1), row(2), row(3)], known)
        assert [item.row.line for item in unit.items if isinstance(item, ToEmbed)] == [3]
        assert unit.embedded_before == 2

    @pytest.mark.parametrize("change", [{"speaker": "ben"}, {"channel": 1}, {"start_s": 0.5}, {"end_s": 2.0}])
    def test_an_id_claimed_for_another_speaker_or_cut_is_refused(self, known: Known, change: dict[str, object]) -> None:
        (item,) = items(plan([row(1, **change)], known))
        assert isinstance(item, FailedRow)
        assert item.code == "claimed"

    def test_an_id_from_another_path_is_to_be_looked_at_with_the_stored_audios_digest(self, known: Known) -> None:
        (item,) = items(plan([row(1, path=Path("/elsewhere/1.wav"))], known))
        assert isinstance(item, ToEmbed)
        assert item.moved_audio == audio_digest(f"{1:064x}")

    def test_ledger_keys_are_known(self, known: Known) -> None:
        assert known.failed == {failed(9).key}

    def test_every_stored_row_is_found_among_many(self, tmp_path: Path) -> None:
        stored = [embedded(n, utt_id=f"{n}.wav", path=f"/audio/{n}.wav") for n in range(300)]
        make_store(tmp_path / "big", stored[:100], stored[100:])
        known = read_known(Snapshot.open(tmp_path / "big"))
        assert {known.standing(row(n, f"{n}.wav"))[0] for n in range(300)} == {Standing.EMBEDDED}
        assert known.standing(row(1, "300.wav"))[0] is Standing.NEW
        assert known.rows.nbytes == 300 * 32


def test_digests_depend_on_the_borders_and_types_of_fields() -> None:
    fields: list[tuple[str | int | float | None, ...]] = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        (1,),
        ("1",),
        (1.5,),
        (None,),
        ("None",),
    ]
    assert len({digest(*one) for one in fields}) == len(fields)


def test_a_survey_counts_rows_and_finds_ids_that_repeat() -> None:
    found = survey([row(1, "a"), BadRow(2, "", ""), row(3, "b"), row(4, "a"), row(5, "a")])
    assert found.rows == 5
    assert len(found.repeated) == 1
    assert survey([]).rows == 0
    assert np.array_equal(sorted(survey([row(1, "a")]).repeated), [])
